// The frame of every page: theme, language, menu, copy buttons, dialogs and keyboard shortcuts.

import { announce } from "./page.js";
import { keepTyped, restoreTyped } from "./typed.js";

const YEAR_S = 365 * 24 * 3600;

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.cookie = `cyllm_theme=${theme}; path=/; max-age=${YEAR_S}; samesite=lax`;
  document.dispatchEvent(new CustomEvent("themechange"));
}

document.querySelectorAll("[data-theme-select]").forEach((select) => {
  select.addEventListener("change", () => setTheme(select.value));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  document.dispatchEvent(new CustomEvent("themechange"));
});

// Before the script of the page reads its forms.
restoreTyped();

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-autosubmit]");
  if (!form) return;
  keepTyped();
  // Scripts keep the page's view in its address, which has changed since the server wrote the form.
  if (form.elements.next) form.elements.next.value = location.pathname + location.search;
  form.requestSubmit();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  const text = source.value ?? source.textContent;
  button.dataset.label ??= button.textContent;
  try {
    await navigator.clipboard.writeText(text.trim());
    button.textContent = "✓";
    announce(button.dataset.label + " ✓");
  } catch {
    getSelection().selectAllChildren(source);
  }
  setTimeout(() => (button.textContent = button.dataset.label), 1500);
});

// Dialogs: <button data-dialog="#id"> opens one.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.querySelector(opener.dataset.dialog)?.showModal();
});

const menuButton = document.getElementById("menu-button");
const sidebar = document.getElementById("sidebar");
function toggleMenu(isOpen) {
  sidebar.classList.toggle("is-open", isOpen);
  menuButton.setAttribute("aria-expanded", String(isOpen));
  if (isOpen) sidebar.querySelector("a")?.focus();
}
menuButton?.addEventListener("click", () => toggleMenu(!sidebar.classList.contains("is-open")));
document.addEventListener("click", (event) => {
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  if (sidebar?.classList.contains("is-open") && !sidebar.contains(event.target) && !menuButton.contains(event.target)) {
    toggleMenu(false);
  }
});

const shortcuts = document.getElementById("shortcuts");
document.getElementById("shortcuts-button")?.addEventListener("click", () => shortcuts.showModal());

function moveRow(step) {
  const rows = [...document.querySelectorAll("tbody tr")].filter((row) => row.querySelector("a[href]"));
  if (!rows.length) return;
  const current = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[Math.min(rows.length - 1, Math.max(0, current + step))];
  next.querySelector("a[href]").focus();
}

let isGoing = false;
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    if (sidebar?.classList.contains("is-open")) {
      toggleMenu(false);
      menuButton.focus();
    }
    return;
  }
  const isTyping = event.target.closest("input, select, textarea, [contenteditable], dialog");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isGoing) {
    isGoing = false;
    const link = document.querySelector(`.sidebar a[data-shortcut="${CSS.escape(event.key)}"]`);
    if (link) link.click();
    return;
  }
  const actions = {
    "/": () => document.querySelector("input[type=search]")?.focus(),
    "?": () => shortcuts?.showModal(),
    g: () => {
      isGoing = true;
      setTimeout(() => (isGoing = false), 2500);
    },
    j: () => moveRow(1),
    k: () => moveRow(-1),
  };
  if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
});

document.querySelectorAll("[data-health]").forEach(async (element) => {
  const badge = element.querySelector(".badge");
  try {
    const response = await fetch(element.dataset.health, { headers: { accept: "application/json" } });
    badge.textContent = response.ok ? element.dataset.ok : element.dataset.bad;
    badge.classList.add(response.ok ? "good" : "warn");
  } catch {
    badge.textContent = element.dataset.down;
    badge.classList.add("bad");
  }
});
