// Shows which rules a new password meets, as it is typed. The service checks them all again; whether everyone would guess
// the password, it alone knows.
"use strict";
const password = document.getElementById("new_password");
const again = document.getElementById("again");
const rules = document.getElementById("rules");
const fold = (text) => text.normalize("NFC").toUpperCase().toLowerCase();
const names = () =>
  [...rules.dataset.names.split("\n"), document.getElementById("username").value]
    .flatMap((name) => [fold(name), fold(name.split("@")[0])])
    .filter((name) => name !== "");

// Whether a rule is met; null while nobody can say.
const checks = {
  length: (text, item) => [...text.normalize("NFC")].length >= Number(item.dataset.least),
  "own-name": (text) => !names().includes(fold(text)),
  common: () => null,
  same: (text) => (again.value === "" ? null : text === again.value),
};

function show() {
  for (const item of rules.children) {
    const met = password.value === "" ? null : checks[item.dataset.rule](password.value, item);
    item.classList.toggle("met", met === true);
    item.classList.toggle("broken", met === false);
  }
}

password.addEventListener("input", show);
again.addEventListener("input", show);
show();
