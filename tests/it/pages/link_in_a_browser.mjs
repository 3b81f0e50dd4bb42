// A person opens an invitation in Chromium and chooses a password. Prints what they saw as JSON. With SCREENSHOTS, a folder,
// it leaves pictures of the pages there.
import { chromium } from "playwright-core";

const [executablePath, profile, link, scripts] = process.argv.slice(2);
const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    javaScriptEnabled: scripts === "on",
    viewport: { width: 420, height: 760 },
    args: [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ],
});
const tab = await context.newPage();
const [complaints, elsewhere] = [[], []];
tab.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
tab.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(new URL(link).origin) && !url.startsWith("data:")) elsewhere.push(url);
});
const picture = async (name) => {
    const folder = process.env.SCREENSHOTS;
    if (folder) await tab.screenshot({ path: `${folder}/${name}-${scripts}.png` });
};

await tab.goto(link);
await picture("opened");
await tab.fill("#new_password", "chosen in a browser");
await tab.fill("#again", "chosen in a browse");
const rules = await tab.locator("#rules li").evaluateAll((items) => items.map((item) => item.className)).catch(() => null)
    ?? await Promise.all((await tab.locator("#rules li").all()).map(async (item) => (await item.getAttribute("class")) ?? ""));
await picture("typed");
await tab.click("button");
const refused = await tab.textContent("#refused");
await picture("refused");
// The browser says that the answer was 422.
complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("422")));
await tab.fill("#new_password", "chosen in a browser");
await tab.fill("#again", "chosen in a browser");
await tab.click("button");
const title = await tab.textContent("h1");
await picture("chosen");
await tab.goto(link);
const again = await tab.textContent("h1");
await picture("spent");
complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("410")));
console.log(JSON.stringify({ rules, refused, title, again, complaints, elsewhere }));
await context.close();
