// A user with a hostile name: from an invitation to a personal token, and past a lost laptop. Then sign-in without scripts.
await tell(async () => {
    const laptop = await browser("laptop", { userAgent: "Laptop <b>" });
    await laptop.goto(story.link);
    await look(laptop, "invitation");
    await laptop.fill("#new_password", "what ana chose");
    await laptop.fill("#again", "what ana chose");
    await laptop.click("main button");
    await laptop.goto(`${url}/signin`);
    const signIn = async (tab) => {
        await tab.fill("#username", "ana");
        await tab.fill("#password", "what ana chose");
        await tab.click("main button");
        await tab.waitForURL(`${url}/account`);
    };
    await signIn(laptop);
    check((await text(laptop, "header nav a")) === story.name, "the name is text, whole");
    await look(laptop, "hostile-name");

    // A wrong password says so, and keeps the name.
    const phone = await browser("phone", { userAgent: "Phone", viewport: { width: 360, height: 740 }, hasTouch: true });
    await phone.goto(`${url}/account`);
    check(phone.url() === `${url}/signin?return_to=%2Faccount`, "the page is asked for again after signing in");
    await phone.fill("#username", "ana");
    await phone.fill("#password", "what ben chose");
    await phone.click("main button");
    await sees(phone, "No active account has this name and this password.");
    check((await phone.inputValue("#username")) === "ana", "the name is still there");
    await look(phone, "sign-in-refused");
    await signIn(phone);
    await look(phone, "account-narrow");

    // A personal token, by the keyboard alone.
    await phone.locator("summary:has-text('Make a token')").press("Enter");
    await phone.locator("#token-name").press("Tab");
    await phone.fill("#token-name", "telephone");
    await phone.locator("input[value=profile]").press("Space");
    await phone.locator("#token-name").press("Enter");
    await phone.waitForSelector("#new-token");
    const token = await text(phone, "#new-token");
    const headers = { authorization: `Bearer ${token}` };
    check((await fetch(`${url}/me`, { headers })).status === 200, "the token works");
    // What is shown once is not shown again.
    await phone.goto(`${url}/account`);
    check((await phone.locator("#new-token").count()) === 0, "the token is shown once");

    // Two tabs: the form of one still counts after the other was used.
    const other = await phone.context().newPage();
    await other.goto(`${url}/account`);
    await phone.fill("#name", "Ana of the first tab");
    await phone.click("text=Save the name");
    await sees(phone, "Your name is saved.");
    await other.fill("#name", "Ana of the second tab");
    await other.click("text=Save the name");
    await sees(other, "Your name is saved.");
    await phone.goBack();
    check(phone.url().startsWith(`${url}/account`), "going back stays on the page");

    // The laptop is lost.
    await other.goto(`${url}/account`);
    const lost = other.locator(".rows li", { hasText: "Laptop" });
    await lost.locator("summary").click();
    await lost.locator("button").click();
    await sees(other, "Whoever had it is signed out.");
    await laptop.fill("#name", "a thief");
    await laptop.click("text=Save the name");
    await laptop.waitForURL(/signin/);
    check((await (await fetch(`${url}/me`, { headers })).json()).user.name === "Ana of the second tab", "the thief changed nothing");

    // One tab signs out: the other one finds out with its next step.
    await other.click("text=Sign out");
    await phone.fill("#name", "nobody");
    await phone.click("text=Save the name");
    await phone.waitForURL(/signin/);

    // What is left to look at.
    for (const [place, name] of [["forgot", "forgot"], ["signup", "sign-up"], ["signout", "signed-out"], ["no/such/page", "lost"]]) {
        await phone.goto(`${url}/${place}`);
        await look(phone, name);
    }

    // Without scripts: a wrong password, a forced change, and in.
    const bare = await browser("bare", { javaScriptEnabled: false });
    await bare.goto(`${url}/signin`);
    await bare.fill("#username", "ben");
    await bare.fill("#password", "handed-over-once");
    await bare.click("main button");
    await bare.locator("#new_password").waitFor();
    await bare.fill("#password", "handed-over-once");
    await bare.fill("#new_password", "what ben chose");
    await bare.fill("#again", "what ben chose");
    await bare.click("main button");
    await bare.waitForURL(`${url}/account`);
    await bare.click("text=Sign out");
    await bare.locator("a.button").waitFor();
    await bare.goto(`${url}/signout`);
    check((await bare.locator("main").innerText()).includes("You are not signed in."), "signed out without scripts");
});
