// Polling of a JSON address: paused while the page is hidden, slower after failures, with the age of the data.

import { fill } from "./format.js";
import { announce } from "./page.js";

const MAX_WAIT_MS = 30000;

/**
 * Call `apply` with the JSON of an address every `intervalMs` while the page is visible. `url`: the address, or
 * a function that returns it. Returns a function that asks at once.
 */
export function poll(url, intervalMs, apply) {
  let timer = 0;
  let latest = 0;
  let failures = 0;
  let lastDataAt = Date.now();

  async function tick() {
    clearTimeout(timer);
    latest += 1;
    const call = latest;
    if (document.hidden) return;
    try {
      const address = typeof url === "function" ? url() : url;
      const response = await fetch(address, { headers: { accept: "application/json" }, redirect: "manual" });
      if (response.type === "opaqueredirect" || response.status === 404) {
        showState("ended");
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      const data = await response.json();
      if (call !== latest) return;
      apply(data);
      failures = 0;
      lastDataAt = Date.now();
      showState("");
    } catch {
      if (call !== latest) return;
      failures += 1;
      showState("lost", Math.round((Date.now() - lastDataAt) / 1000));
    }
    const wait = Math.min(MAX_WAIT_MS, intervalMs * 2 ** Math.min(failures, 5));
    timer = setTimeout(tick, failures ? wait * (0.8 + 0.4 * Math.random()) : wait);
  }

  document.addEventListener("visibilitychange", tick);
  timer = setTimeout(tick, intervalMs);
  return tick;
}

let shown = "";
function showState(state, ageS = 0) {
  const element = document.querySelector("[data-live-state]");
  if (!element) return;
  element.hidden = !state;
  if (state) {
    element.textContent = fill(element.dataset[state], { n: ageS });
    if (state !== shown) announce(element.textContent);
  }
  shown = state;
}
