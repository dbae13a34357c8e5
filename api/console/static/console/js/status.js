// The live status page.

import { poll } from "./poll.js";

const INTERVAL_MS = 3000;
const part = document.getElementById("status");

poll(part.dataset.url, INTERVAL_MS, ({ html }) => {
  if (part.contains(document.activeElement) || !getSelection().isCollapsed) return; // somebody is reading it
  part.innerHTML = html;
});
