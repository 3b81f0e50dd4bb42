// Someone who writes a client reads the API document, tries a route there, and looks up an error.
await tell(async () => {
    const tab = await browser("reader");
    await tab.goto(`${url}/docs`);
    await tab.waitForSelector(".opblock-tag");
    check((await tab.title()) === "API · Countersign", "the title is ours");
    check((await tab.locator(".topbar").count()) === 0, "there is no bar of the maker of the page");
    const tags = await tab.locator(".opblock-tag").evaluateAll((tags) => tags.map((tag) => tag.dataset.tag));
    check(tags[0] === "log in" && tags.at(-1) === "the service", `what comes first is first: ${tags}`);
    const routes = await tab.locator(".opblock-summary-path").evaluateAll((all) => all.map((one) => one.dataset.path));
    check(routes[0] === "/login", `the first route is the login: ${routes}`);
    if (process.env.SCREENSHOTS) await tab.screenshot({ path: `${process.env.SCREENSHOTS}/api.png` });

    // The example of a body needs the password alone.
    await tab.locator(".opblock-summary", { hasText: "/login" }).first().click();
    const field = tab.locator(".opblock.is-open textarea").first();
    const body = JSON.parse(await field.inputValue());
    check(body.username === "sergio" && Object.keys(body).length === 2, JSON.stringify(body));
    await field.fill(JSON.stringify({ ...body, password: story.password }));
    await tab.locator(".opblock.is-open .execute").click();
    await tab.waitForSelector(".opblock.is-open .live-responses-table .response-col_status");
    check((await text(tab, ".opblock.is-open .live-responses-table .response td.response-col_status")).startsWith("200"), "it logs in");

    await tab.goto(`${url}/problems/invalid-token`);
    for (const words of ["What happened", "What to do", "Log in again", "www-authenticate: Bearer", "The API: log in"]) {
        await sees(tab, words);
    }
    await look(tab, "problem");
    await tab.click("text=The API: log in");
    await tab.waitForSelector(".opblock-tag");
});
