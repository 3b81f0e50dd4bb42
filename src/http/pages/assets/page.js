// What scripts add to every page: times in the reader's zone, lists that follow what is typed, figures that stay fresh, and
// buttons that copy. Without scripts all of them work, less comfortably.
const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

function localize(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.textContent = zoned.format(at);
    time.title = `${exact.format(at)} (${time.dateTime})`;
  }
}

// On a narrow screen a table has no row of headings, so each cell says what it is.
function nameColumns(within) {
  for (const table of within.querySelectorAll("table")) {
    const names = [...table.querySelectorAll("thead th")].map((cell) => (cell.querySelector(".unseen") ? "" : cell.textContent));
    for (const row of table.tBodies[0]?.rows ?? []) {
      [...row.cells].forEach((cell, i) => names[i] && cell.textContent.trim() !== "" && (cell.dataset.column = names[i]));
    }
  }
}

// Puts the part with this id of another page in the place of this page's.
async function replacePart(id, url, signal) {
  const answer = await fetch(url, { signal, redirect: "manual", headers: { accept: "text/html" } });
  // The session ended: a sign-in page is no part of this one, but opening this page again leads there.
  if (answer.type === "opaqueredirect") return location.reload();
  if (!answer.ok) return undefined;
  const part = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(id);
  const old = document.getElementById(id);
  if (!part || !old || old.contains(document.activeElement) || old.querySelector("details[open]")) return undefined;
  localize(part);
  nameColumns(part);
  old.replaceChildren(...part.childNodes);
  if (!part.dataset.refresh) delete old.dataset.refresh;
  return undefined;
}

for (const form of document.querySelectorAll("form[data-live]")) {
  let waiting;
  let running;
  const follow = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      running?.abort();
      running = new AbortController();
      const query = new URLSearchParams(new FormData(form));
      const url = `${new URL(form.action).pathname}?${query}`;
      // Going back from a user leads to what was looked for.
      history.replaceState(null, "", url);
      replacePart(form.dataset.live, url, running.signal).catch(() => {});
    }, 150);
  };
  form.addEventListener("input", follow);
}

// A page that nobody looks at any more asks for nothing: it would keep the session from ending.
const WATCHED_MILLIS = 10 * 60 * 1000;
let touched = Date.now();
for (const event of ["pointermove", "keydown", "scroll"]) {
  addEventListener(event, () => { touched = Date.now(); }, { passive: true });
}

for (const part of document.querySelectorAll("[data-refresh]")) {
  setInterval(() => {
    const isWatched = !document.hidden && Date.now() - touched < WATCHED_MILLIS;
    if (isWatched && part.dataset.refresh) replacePart(part.id, location.href).catch(() => {});
  }, Number(part.dataset.refresh) * 1000);
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // Without a secure connection browsers give no clipboard.
      getSelection().selectAllChildren(source);
      button.textContent = "Marked: copy it now";
    }
  });
}

// The setup link has its token where no log sees it.
const setupToken = document.querySelector("#token");
if (setupToken && location.hash.length > 1) {
  setupToken.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

// Escape closes a question that was opened, and leaves everything as it is.
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const question = document.activeElement?.closest("details.ask[open]") ?? document.querySelector("details.ask[open]");
  question?.removeAttribute("open");
  question?.querySelector("summary").focus();
});

localize(document);
nameColumns(document);
