// Reads a file of users, shows what its columns are, and sends it in the form that the service reads. Spreadsheets call their
// columns as they like, and some put semicolons between them; other software's exports go through as they are.
const form = document.getElementById("import");
const fields = form.dataset.fields.split(" ");
const file = document.getElementById("file");
const columns = document.getElementById("columns");
const refused = document.getElementById("refused");
const progress = document.getElementById("progress");
const report = document.getElementById("report");
const buttons = [...form.querySelectorAll("button")];

// Larger files are sent as they are: nobody makes one by hand.
const MOST_READ = 20 * 1024 * 1024;
const MOST_SHOWN = 500;

// What people call our fields, and what their columns are called.
const LABELS = {
  id: "id", username: "username", name: "name", email: "e-mail address", email_verified: "address is confirmed (true or false)",
  roles: "roles", status: "status (active or disabled)", must_change_password: "must change the password (true or false)",
  password_hash: "password hash", created_at: "made at", last_login_at: "last login at",
};
const GUESSES = {
  username: ["user", "user name", "login", "login name", "account", "nickname"],
  name: ["full name", "display name", "real name", "first name", "given name", "forename", "last name", "surname", "family name"],
  email: ["e mail", "mail", "email address", "e mail address", "mail address"],
  roles: ["role", "group", "groups"],
  password_hash: ["hash", "encoded password", "password hash"],
};
const plain = (text) => text.trim().toLowerCase().replaceAll(/[^a-z]+/g, " ").trim();

function guess(column) {
  const name = plain(column);
  return fields.find((field) => plain(field) === name)
    ?? Object.keys(GUESSES).find((field) => GUESSES[field].includes(name))
    ?? "";
}

// The rows of a CSV file (RFC 4180), with whatever separates most often in the first line. Each knows its number in the file.
function rowsOf(text) {
  const first = text.slice(0, text.search(/\r|\n|$/));
  const separator = [",", ";", "\t"].sort((a, b) => first.split(b).length - first.split(a).length)[0];
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += '"'; i += 1; }
      else quoted = false;
    } else if (c === '"' && cell === "") quoted = true;
    else if (c === separator) { row.push(cell); cell = ""; }
    else if (c === "\n" || c === "\r") {
      if (c === "\r" && text[i + 1] === "\n") i += 1;
      rows.push([...row, cell]);
      row = [];
      cell = "";
    } else cell += c;
  }
  if (cell !== "" || row.length > 0) rows.push([...row, cell]);
  const numbered = rows.map((cells, i) => ({ number: i + 1, cells }));
  return numbered.filter(({ cells }) => cells.some((text) => text.trim() !== ""));
}

const cellOf = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
// A spreadsheet must not take a name for a formula.
const safeCellOf = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
const lineOf = (cells) => `${cells.map(cellOf).join(",")}\n`;

let rows = null;
// The rows of the file behind the lines that were sent, if they were made of it.
let sent = null;

function say(text) {
  refused.textContent = text;
  refused.hidden = text === "";
}

// Files of older spreadsheets are not UTF-8.
async function textOf(blob) {
  const bytes = await blob.arrayBuffer();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

const isLines = (name) => /\.(ndjson|jsonl|json)$/i.test(name);

file.addEventListener("change", async () => {
  const [chosen] = file.files;
  say("");
  rows = null;
  columns.hidden = true;
  report.hidden = true;
  for (const button of buttons) button.disabled = !chosen;
  if (chosen && /\.(xlsx?|ods|numbers)$/i.test(chosen.name)) {
    say("This is a spreadsheet. Save it as CSV in the program that made it, then choose that file.");
    for (const button of buttons) button.disabled = true;
    return;
  }
  if (!chosen || isLines(chosen.name) || chosen.size > MOST_READ) return;
  rows = rowsOf(await textOf(chosen));
  if (rows.length < 2) {
    say("The file has no rows below its first line, which names the columns.");
    for (const button of buttons) button.disabled = true;
    return;
  }
  const [head, first] = rows.map(({ cells }) => cells);
  columns.querySelector("tbody").replaceChildren(...head.map((column, i) => {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = column || `Column ${i + 1}`;
    const choice = document.createElement("select");
    choice.setAttribute("aria-label", `What ${name.textContent} is`);
    const guessed = guess(column);
    for (const field of ["", ...fields]) {
      choice.append(new Option(field === "" ? "left out" : LABELS[field] ?? field, field, false, field === guessed));
    }
    const cells = [document.createElement("td"), document.createElement("td")];
    cells[0].append(choice);
    cells[1].textContent = first[i] ?? "";
    row.append(name, ...cells);
    return row;
  }));
  columns.hidden = false;
  explain();
});

// What follows from the choices: whether people sign in with their addresses.
function explain() {
  const chosen = [...columns.querySelectorAll("select")].map((choice) => choice.value);
  document.getElementById("by-address").hidden = chosen.includes("username") || !chosen.includes("email");
}
columns.addEventListener("change", explain);

// The file with our names in its first line. Several columns may be the name together. Whoever has no username signs in with
// the e-mail address.
function converted() {
  const chosen = [...columns.querySelectorAll("select")].map((choice) => choice.value);
  const used = fields.filter((field) => chosen.includes(field));
  const columnsOf = (field) => chosen.flatMap((choice, i) => (choice === field ? [i] : []));
  const twice = used.find((field) => field !== "name" && columnsOf(field).length > 1);
  if (twice) throw new Error(`Two columns are the ${LABELS[twice]}. Leave one of them out.`);
  if (!used.includes("username") && !used.includes("email")) {
    throw new Error("Say which column is the username, or the e-mail address.");
  }
  const withUser = document.getElementById("with-user").checked;
  const valueOf = (field, cells) => {
    const text = columnsOf(field).map((i) => (cells[i] ?? "").replaceAll(/\s+/g, " ").trim()).filter(Boolean).join(" ");
    if (field !== "roles" || !withUser) return text;
    return [...new Set(["user", ...text.split(/[\s,;]+/)])].filter(Boolean).join(" ");
  };
  const names = used.includes("username") ? used : ["username", ...used];
  const lines = rows.slice(1).map(({ cells }) =>
    lineOf(names.map((field) => valueOf(field === "username" && !used.includes(field) ? "email" : field, cells))));
  sent = rows;
  return new Blob([lineOf(names), ...lines], { type: "text/csv" });
}

function send(body, type, dryRun) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const options = new URLSearchParams({ on_conflict: document.getElementById("on_conflict").value, dry_run: dryRun });
    request.open("POST", `${location.pathname}?${options}`);
    request.setRequestHeader("content-type", type);
    request.setRequestHeader("x-form-token", form.dataset.token);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progress.value = event.loaded / event.total;
    });
    request.addEventListener("load", () => resolve(request));
    request.addEventListener("error", () => reject(new Error("The service cannot be reached. What was sent so far may have been imported; run it again.")));
    request.send(body);
  });
}

function show(text, dryRun) {
  const lines = text.trim().split("\n").map((line) => JSON.parse(line));
  const { summary } = lines.pop();
  // The row of the spreadsheet in place of the line that was sent.
  for (const line of lines) line.line = sent?.[line.line - 1]?.number ?? line.line;
  const would = dryRun === "true" ? "would be " : "";
  const counts = ["created", "updated", "unchanged", "skipped", "failed"].filter((outcome) => summary[outcome] > 0);
  const parts = counts.map((outcome) => `${summary[outcome]} ${outcome === "failed" ? "cannot be imported" : would + outcome}`);
  const stopped = summary.stopped ? ` It stopped at line ${summary.stopped.line}: ${summary.stopped.error.message}.` : "";
  document.getElementById("summary").textContent =
    `${dryRun === "true" ? "Nothing was changed. " : ""}Of ${summary.rows} rows ${parts.join(", ") || "none was read"}.${stopped}`;
  const outcomeOf = (line) => (line.outcome === "skipped" ? "skipped: the username exists" : ["created", "updated"].includes(line.outcome) ? would + line.outcome : line.outcome);
  const why = (line) => line.errors?.map((error) => `${error.field} ${error.message}`).join("; ") ?? "";
  // What needs somebody comes first: faults, then links to hand over.
  const rank = (line) => (line.outcome === "failed" ? 0 : line.url ? 1 : 2);
  const sorted = [...lines].sort((a, b) => rank(a) - rank(b) || a.line - b.line);
  const table = report.querySelector("table");
  table.hidden = lines.length === 0;
  table.querySelector("tbody").replaceChildren(...sorted.slice(0, MOST_SHOWN).map((line) => {
    const row = document.createElement("tr");
    const texts = [line.line, line.username ?? "", [outcomeOf(line), why(line), line.url].filter(Boolean).join(": ")];
    row.append(...texts.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
  const all = lines.map((line) => lineOf([`${line.line}`, line.username ?? "", outcomeOf(line), why(line), line.url ?? ""].map(safeCellOf)));
  const save = document.getElementById("save-report");
  URL.revokeObjectURL(save.href);
  save.href = URL.createObjectURL(new Blob(["\ufeff", lineOf(["line", "username", "outcome", "why", "link"]), ...all], { type: "text/csv" }));
  save.hidden = lines.length === 0;
  document.getElementById("links-once").hidden = !lines.some((line) => line.url);
  report.hidden = false;
  report.scrollIntoView({ block: "nearest" });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const dryRun = event.submitter?.value ?? "true";
  say("");
  report.hidden = true;
  try {
    const [chosen] = file.files;
    const isCsv = !isLines(chosen.name);
    sent = null;
    const body = isCsv && rows ? converted() : chosen;
    for (const button of buttons) button.disabled = true;
    progress.value = 0;
    progress.hidden = false;
    const answer = await send(body, isCsv ? "text/csv" : "application/x-ndjson", dryRun);
    if (answer.status === 200 && answer.responseURL.includes("/import")) show(answer.responseText, dryRun);
    else {
      const page = new DOMParser().parseFromString(answer.responseText, "text/html");
      const said = [...page.querySelectorAll("main > p:first-of-type, main li")].map((part) => part.textContent);
      say(said.join(" ") || "That did not work. Open this page again.");
    }
  } catch (error) {
    say(error.message);
  }
  progress.hidden = true;
  for (const button of buttons) button.disabled = false;
});

// Chosen before this script was there.
if (file.files.length > 0) file.dispatchEvent(new Event("change"));
