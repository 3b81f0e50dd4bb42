// An application behind a proxy that asks Countersign: visit it, sign in, be known to it, sign out, be refused.
await tell(async () => {
    const tab = await browser("visitor");
    const page = `${story.site}/notes?a=b&c=%20d`;
    await tab.context().addCookies([{ name: "own", value: "kept", url: story.site }]);
    await tab.goto(page);
    check(tab.url().startsWith(`${url}/signin?return_to=`), "a visitor is sent to sign in");
    await sees(tab, `Then you go on to ${story.site}`);
    await look(tab, "sign-in-for-an-application");
    await tab.fill("#username", "ana");
    await tab.fill("#password", "not this one");
    await tab.click("main button");
    await sees(tab, "No active account");
    await tab.fill("#password", story.password);
    await tab.click("main button");
    await tab.waitForURL(page);

    // The application gets the name, and neither the password nor the session.
    const request = (await tab.locator("body").innerText()).toLowerCase();
    check(request.startsWith("get /notes?a=b&c=%20d "), "the page is the one that was asked for");
    check(/x-auth-user: ana\s/.test(request), "the application knows who it is");
    check(/cookie:.*own=kept/.test(request), "its own cookies are kept");
    check(story.keepsSession || !request.includes("countersign="), "it does not get the session");
    check((await tab.evaluate(() => fetch("/data").then((answer) => answer.status))) === 200, "its scripts are known, too");

    // Signed out at Countersign is signed out of the application, at once.
    const other = await tab.context().newPage();
    await other.goto(`${url}/signout`);
    await other.click("main button");
    await sees(other, "Sign in");
    check((await tab.evaluate(() => fetch("/data").then((answer) => answer.status))) === 401, "a script gets 401 and no page");
    await tab.goto(page);
    check(tab.url().startsWith(`${url}/signin?return_to=`), "the application asks again");
});
