// API keys: creation and rotation with a secret that is shown once, revocation, countdowns.

import { announce } from "./page.js";

const texts = document.getElementById("key-texts").dataset;
const table = document.getElementById("key-table");
const secretDialog = document.getElementById("secret-dialog");
const secret = document.getElementById("secret");

/** Replace the table by a fresh one, so that filters, sorting and rights are the server's. */
async function refreshTable() {
  const response = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  document.getElementById("stale").hidden = Boolean(response?.ok);
  if (!response?.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("key-table");
  if (fresh) table.replaceChildren(...fresh.childNodes);
  count();
}

/** Send a form; return the JSON of the answer, or null after showing what is wrong. */
async function send(form) {
  showErrors(form, {});
  const buttons = form.querySelectorAll("button");
  buttons.forEach((button) => (button.disabled = true));
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
    if (response.ok) return await response.json();
    if (response.status === 422) showErrors(form, (await response.json()).errors);
    else showErrors(form, { __all__: [response.status === 403 || response.status === 404 ? texts.denied : texts.failed] });
  } catch {
    showErrors(form, { __all__: [texts.failed] });
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
  return null;
}

function showErrors(form, errors) {
  form.querySelectorAll("[data-error]").forEach((element) => {
    const messages = errors[element.dataset.error] ?? [];
    element.textContent = messages.join(" ");
    if (element.dataset.error === "__all__") element.hidden = !messages.length;
    const input = form.elements[element.dataset.error];
    if (input instanceof Element) input.setAttribute("aria-invalid", String(messages.length > 0));
    if (messages.length) element.closest("details")?.setAttribute("open", "");
  });
  const first = form.querySelector('[aria-invalid="true"]');
  first?.focus();
  const text = Object.values(errors).flat().join(" ");
  if (text) announce(text);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (event.submitter?.formMethod === "dialog") return;
  if (form.matches("[data-secret-form]")) {
    event.preventDefault();
    const answer = await send(form);
    if (!answer) return;
    form.closest("dialog").close();
    form.reset();
    secret.textContent = answer.secret;
    secretDialog.showModal();
    await refreshTable();
  } else if (form.matches("[data-revoke-form]")) {
    event.preventDefault();
    const answer = await send(form);
    if (!answer) return;
    form.closest("dialog").close();
    await refreshTable();
    announce(`${texts.revoked}: ${answer.prefix}`);
  }
});

secretDialog.addEventListener("close", () => (secret.textContent = ""));

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-rotate], [data-revoke]");
  if (!button) return;
  const dialog = document.getElementById(button.dataset.rotate ? "rotate-dialog" : "revoke-dialog");
  dialog.querySelector("form").action = button.dataset.rotate ?? button.dataset.revoke;
  dialog.querySelector("[data-key-name]").textContent = button.dataset.name;
  showErrors(dialog.querySelector("form"), {});
  dialog.showModal();
});

function remaining(seconds) {
  if (seconds <= 0) return texts.ended;
  const days = Math.floor(seconds / 86400);
  const clock = [Math.floor((seconds % 86400) / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  const text = clock.map((part) => String(part).padStart(2, "0")).join(":");
  return days ? `${days} d ${text}` : text;
}

function count() {
  document.querySelectorAll("[data-countdown]").forEach((element) => {
    const left = Math.round((Date.parse(element.dataset.countdown) - Date.now()) / 1000);
    element.textContent = remaining(left);
    if (left === 0) refreshTable();
  });
}
setInterval(count, 1000);
count();
