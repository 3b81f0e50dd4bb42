// Pages of two origins call a service from Chromium, of which the service lists the first. Prints what came of it as JSON.
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [executablePath, profile, service, listedPort, username, password] = process.argv.slice(2);

const page = (port) =>
    new Promise((listening) => {
        const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><p>page"));
        server.listen(port, "127.0.0.1", () => listening(`http://localhost:${server.address().port}/`));
    });
const [listed, other] = [await page(Number(listedPort)), await page(0)];

const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    httpCredentials: { username, password, send: "unauthorized" },
    args: [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ],
});
const tab = await context.newPage();

// In the page: the answer as the page may read it, or that it may not.
const call = (path, options = {}) =>
    tab.evaluate(
        async ([url, options]) => {
            try {
                const answer = await fetch(url, options);
                const text = await answer.text();
                return { status: answer.status, text, challenge: answer.headers.get("www-authenticate") };
            } catch (error) {
                return { refused: error.name };
            }
        },
        [service + path, options],
    );
const json = (method, body, token) => {
    const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
    return { method, headers, body: JSON.stringify(body) };
};

await tab.goto(listed);
const login = await call("/login", json("POST", { username, password }));
const token = JSON.parse(login.text).token;
const bearer = { headers: { authorization: `Bearer ${token}` } };
const results = {
    login: login.status,
    me: await call("/me", bearer),
    patch: await call("/me", json("PATCH", { name: "By a page" }, token)),
    wrong: await call("/me", { headers: { authorization: "Bearer wrong" } }),
    included: await call("/me", { ...bearer, credentials: "include" }),
};

await tab.goto(other);
results.otherMe = await call("/me", bearer);
results.otherLogin = await call("/login", json("POST", { username, password }));
results.otherKeys = await call("/.well-known/jwks.json");
// The browser adds the password that it knows, and the page may not read what comes of it; so its status is seen from outside.
const seen = [];
tab.on("response", (answer) => seen.push(`${answer.request().method()} ${answer.status()}`));
results.otherRotation = await call("/admin/keys/rotate", { method: "POST", mode: "no-cors", credentials: "include" });
await tab.evaluate((action) => {
    document.body.innerHTML = `<form method="post" action="${action}"></form>`;
    document.forms[0].submit();
}, `${service}/admin/keys/rotate`);
await tab.waitForURL(`${service}/**`);
results.seen = seen;

await context.close();
console.log(JSON.stringify(results));
process.exit(0);
