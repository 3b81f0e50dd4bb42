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
  old.replaceChildren(...part.childNodes);
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
      const url = `${location.pathname}?${query}`;
      // Going back from a user leads to what was looked for.
      history.replaceState(null, "", url);
      replacePart(form.dataset.live, url, running.signal).catch(() => {});
    }, 150);
  };
  form.addEventListener("input", follow);
}

for (const part of document.querySelectorAll("[data-refresh]")) {
  setInterval(() => {
    if (!document.hidden) replacePart(part.id, location.href).catch(() => {});
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

localize(document);
