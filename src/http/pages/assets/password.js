// Shows which rules a new password meets, as it is typed. The service checks them all again; whether everyone would guess
// the password, it alone knows.
const password = document.getElementById("new_password");
const again = document.getElementById("again");
const rules = document.getElementById("rules");
const fold = (text) => text.normalize("NFC").toUpperCase().toLowerCase();
const names = () =>
  [...rules.dataset.names.split("\n"), document.getElementById("username")?.value ?? ""]
    .flatMap((name) => [fold(name), fold(name.split("@")[0])])
    .filter((name) => name !== "");

// Whether a rule is met; null while nobody can say.
const checks = {
  length: (text, item) => [...text.normalize("NFC")].length >= Number(item.dataset.least),
  "own-name": (text) => !names().includes(fold(text)),
  common: () => null,
  same: (text) => (again.value === "" ? null : text === again.value),
};

const said = document.getElementById("said");
let waiting;

function show() {
  const broken = [];
  for (const item of rules.children) {
    const met = password.value === "" ? null : checks[item.dataset.rule](password.value, item);
    item.classList.toggle("met", met === true);
    item.classList.toggle("broken", met === false);
    if (met === false) broken.push(item.textContent);
  }
  // For those who do not see the list: once, when the typing pauses.
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    said.textContent = broken.length > 0 ? `Not yet: ${broken.join("; ")}` : "";
  }, 1000);
}

document.getElementById("username")?.addEventListener("input", show);
// A page may have no form to show, such as that of a setup that is done.
if (password && again) {
  password.addEventListener("input", show);
  again.addEventListener("input", show);
  show();
}
