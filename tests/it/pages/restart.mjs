// Signs in before a restart of the server, and is still known after it; a form that was opened before it still counts.
await tell(async () => {
    const tab = await browser("maria");
    if (story.is_first) {
        await tab.goto(`${url}/setup#${story.setupToken}`);
        await tab.fill("#username", "maria");
        await tab.fill("#new_password", "a long password of hers");
        await tab.fill("#again", "a long password of hers");
        await tab.click("main button");
        await tab.waitForURL(`${url}/admin`);
        return;
    }
    await tab.goto(`${url}/account`);
    await tab.fill("#name", "Maria after the restart");
    await tab.click("text=Save the name");
    await sees(tab, "Your name is saved.");
});
