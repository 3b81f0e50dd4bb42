// A new administrator, with the address alone: from the setup link to a service that people use.
await tell(async () => {
    const admin = await browser("admin");

    // The first page says what to do, and the setup link makes the administrator.
    await admin.goto(url);
    await sees(admin, "Make the first administrator");
    await look(admin, "welcome");
    await admin.goto(`${url}/setup#${story.setupToken}`);
    await look(admin, "setup");
    await admin.fill("#username", "maria");
    await admin.fill("#new_password", "a long password of hers");
    await admin.fill("#again", "a long password of hers");
    await admin.click("main button");
    await admin.waitForURL(`${url}/admin`);
    check((await admin.context().cookies()).every((cookie) => cookie.httpOnly && cookie.sameSite === "Lax"), "the cookie is kept from scripts");

    // Three people are invited.
    const links = {};
    for (const [username, name] of [["ana", "Ana Souza"], ["ben", "Ben Osei"], ["eve", "Eve Moreau"]]) {
        await admin.goto(`${url}/admin/console/users`);
        await admin.click("text=New user");
        await admin.fill("#username", username);
        await admin.fill("#name", name);
        await admin.fill("#email", `${username}@example.com`);
        if (username === "ana") await look(admin, "new-user");
        await admin.click("text=Make the user");
        links[username] = await text(admin, "#new-link");
    }
    await look(admin, "link-to-hand-over");

    // Somebody's name is taken: what was typed is still there.
    await admin.goto(`${url}/admin/console/users/new`);
    await admin.fill("#username", "ANA");
    await admin.fill("#name", "Another Ana");
    await admin.click("text=Make the user");
    await sees(admin, "Username belongs to someone already.");
    check((await admin.inputValue("#name")) === "Another Ana", "nothing that was typed is lost");
    await look(admin, "refused");

    // Ana opens her link in a browser of her own, and signs in.
    const ana = await browser("ana", { userAgent: "Ana's laptop" });
    await ana.goto(links.ana);
    await ana.fill("#new_password", "what ana chose");
    await ana.fill("#again", "what ana chose");
    await ana.click("main button");
    await ana.click("a.button");
    await look(ana, "sign-in");
    await ana.fill("#username", "ana");
    await ana.fill("#password", "what ana chose");
    await ana.click("main button");
    await ana.waitForURL(`${url}/account`);
    await ana.goto(`${url}/admin`);
    await sees(ana, "Your account may not open this page.");
    await look(ana, "not-allowed");
    await ana.goto(`${url}/account`);
    await ana.click("text=Make a token");
    await ana.fill("#token-name", "backup script");
    await ana.check("input[value=profile]");
    await ana.click("text=Make the token");
    const token = await text(ana, "#new-token");
    check(token.startsWith("cst_"), "the token is shown once");
    await look(ana, "account");
    const bearer = { headers: { authorization: `Bearer ${token}` } };
    check((await fetch(`${url}/me`, bearer)).status === 200, "the token works");

    // Ben gets a role, and Eve is deleted, after being asked.
    await admin.goto(`${url}/admin/console/users`);
    await look(admin, "users");
    await admin.click("text=ben >> nth=0");
    await admin.fill("#other_roles", "editor");
    await admin.click("text=Save");
    await sees(admin, "The changes are saved.");
    await sees(admin, "editor");
    await look(admin, "user");
    await admin.goto(`${url}/admin/console/users`);
    await admin.click("a:has-text('eve')");
    await admin.click("summary:has-text('Delete')");
    await admin.click("text=Delete eve for good");
    await admin.waitForURL(/said=deleted/);
    check(!(await has(admin, "Eve Moreau")), "eve is gone");

    // Who deleted whom?
    await admin.click("nav.places >> text=Audit trail");
    await admin.selectOption("#event", "user.deleted");
    await admin.waitForURL(/event=user.deleted/);
    await admin.waitForFunction(() => document.querySelectorAll(".trail li").length === 1);
    check(/maria\s+deleted\s+eve/.test(await text(admin, ".trail")), "the trail says it in a sentence");
    await look(admin, "audit");
    await admin.click("text=Check that nothing was changed");
    await sees(admin, "none was changed or removed");

    // Ana's laptop is lost, and her token with it.
    await admin.goto(`${url}/admin/console/users?q=ana`);
    await admin.click("tbody a");
    await sees(admin, "Ana's laptop");
    await admin.click("td summary:has-text('End')");
    await admin.click("text=End this session");
    await sees(admin, "Whoever had it is signed out.");
    await ana.goto(`${url}/account`);
    check(ana.url().startsWith(`${url}/signin?return_to=%2Faccount`), "the laptop is asked to sign in");
    await admin.goto(`${url}/admin/console/tokens`);
    await look(admin, "tokens");
    await admin.click("summary:has-text('Revoke')");
    await admin.click("text=Revoke this token");
    check((await fetch(`${url}/me`, bearer)).status === 401, "the token is refused at once");

    // A list from a spreadsheet, first for show.
    await admin.click("text=Import and export");
    const list = "First name;Surname;E-mail;Group;Shoe size\r\nZoë;Ångström;zoe@example.com;editor;38\r\n;;;;\r\n\"Chidi; Junior\";Okafor;chidi@example.com;;44\r\nNobody;;no address;;40\r\n";
    await admin.setInputFiles("#file", { name: "people.csv", mimeType: "text/csv", buffer: Buffer.from(`\ufeff${list}`) });
    await admin.waitForSelector("#columns tbody tr");
    check((await admin.locator("#columns select").evaluateAll((all) => all.map((one) => one.value).join())) === "name,name,email,roles,", "the columns are guessed");
    await look(admin, "import");
    await admin.click("text=Try it first");
    await admin.waitForSelector("#report:not([hidden])");
    check(!(await text(admin, "#report")).includes("/link/"), "a trial makes no links");
    await sees(admin, "Nothing was changed. Of 3 rows 2 would be created, 1 cannot be imported.");
    await admin.click("button:text-is('Import')");
    await admin.waitForFunction(() => document.querySelector("#summary").textContent.startsWith("Of 3"));
    await sees(admin, "/link/");
    await sees(admin, "created: http");
    check((await admin.locator("#report tbody tr").first().innerText()).startsWith("5"), "a fault names the row of the spreadsheet");
    await look(admin, "report");

    // The list follows what is typed, and is the same on coming back.
    await admin.click("nav.places >> text=Users");
    await admin.locator("#q").pressSequentially("zo");
    await admin.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
    await admin.click("tbody a");
    check((await text(admin, "h1")) === "Zoë Ångström", "the name is whole");
    await admin.goBack();
    await admin.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
    check((await admin.inputValue("#q")) === "zo", "what was looked for is still there");

    // The other pages, and the first one again: figures, keys, settings, health; in the dark, and on a telephone.
    for (const [place, name] of [["keys", "keys"], ["settings", "settings"], ["health", "health"]]) {
        await admin.goto(`${url}/admin/console/${place}`);
        await look(admin, name);
    }
    await admin.goto(`${url}/admin`);
    await look(admin, "overview");
    await admin.emulateMedia({ colorScheme: "dark" });
    await look(admin, "overview-dark");
    await admin.setViewportSize({ width: 360, height: 740 });
    await look(admin, "overview-narrow");
    for (const place of ["users", "audit", "tokens", "import", "settings"]) {
        await admin.goto(`${url}/admin/console/${place}`);
        await look(admin, `${place}-narrow`);
    }
    await admin.click("text=Sign out");
    await sees(admin, "Sign in");
    await admin.goto(`${url}/admin`);
    check(admin.url().startsWith(`${url}/signin`), "the pages of administrators ask again");
});
