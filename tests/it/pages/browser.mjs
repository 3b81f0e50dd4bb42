// What the stories have in common: Chromium, what it complained of, and a look at each page by axe. A story is appended to this
// file. With SCREENSHOTS, a folder, it leaves pictures there.
import { chromium } from "playwright-core";
import axe from "axe-core";

const [chromiumPath, folder, given] = process.argv.slice(2);
const { url, ...story } = JSON.parse(given);
const seen = { complaints: [], elsewhere: [], axe: [] };
const contexts = [];

// A browser of its own, with its own cookies.
async function browser(name, options = {}) {
    const context = await chromium.launchPersistentContext(`${folder}/${name}`, {
        executablePath: chromiumPath,
        viewport: { width: 1280, height: 800 },
        locale: "en-GB",
        timezoneId: "Europe/Lisbon",
        args: [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync",
        ],
        ...options,
    });
    context.setDefaultTimeout(10_000);
    contexts.push(context);
    const watch = (tab) => {
        tab.on("console", (message) => {
            // That an answer is an error is part of a story.
            const isAnswer = message.text().includes("Failed to load resource");
            if (["error", "warning"].includes(message.type()) && !isAnswer) seen.complaints.push(message.text());
        });
        tab.on("pageerror", (error) => seen.complaints.push(`${error}`));
        tab.on("request", (request) => {
            const to = request.url();
            const isOurs = [url, ...(story.also ?? [])].some((origin) => to.startsWith(origin));
            if (!isOurs && !/^(data|blob|about):/.test(to)) seen.elsewhere.push(to);
        });
    };
    context.pages().forEach(watch);
    context.on("page", watch);
    const [tab] = context.pages();
    return tab ?? context.newPage();
}

// Looks for what keeps people out: contrast, names of fields, order of headings. Then takes a picture.
async function look(tab, name) {
    await tab.evaluate(axe.source);
    const found = await tab.evaluate(() => globalThis.axe.run());
    for (const violation of found.violations.filter((one) => ["serious", "critical"].includes(one.impact))) {
        seen.axe.push(`${name}: ${violation.id} at ${violation.nodes[0].target}: ${violation.nodes[0].html}`);
    }
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) seen.axe.push(`${name}: ${wide} pixels too wide`);
    if (process.env.SCREENSHOTS) await tab.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
}

const text = (tab, selector) => tab.locator(selector).first().innerText();
const has = async (tab, words) => (await tab.locator("body").innerText()).includes(words);

// Waits for these words.
async function sees(tab, words) {
    const shown = tab.waitForFunction((words) => document.body?.innerText.includes(words), words);
    await shown.catch(() => { throw new Error(`these words do not come: ${words}`); });
}

function check(condition, what) {
    if (!condition) throw new Error(`not so: ${what}`);
}

// Runs a story, and prints what was seen.
async function tell(act) {
    try {
        await act();
        console.log(JSON.stringify(seen));
    } catch (error) {
        const tabs = contexts.flatMap((context) => context.pages());
        for (const tab of tabs) console.error(tab.url(), await tab.locator("body").innerText().catch(() => ""));
        console.error(error);
        process.exitCode = 1;
    }
    for (const context of contexts) await context.close();
}
