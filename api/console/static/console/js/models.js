// Live readiness of the models on the page.

import { poll } from "./poll.js";
import { announce } from "./page.js";

const INTERVAL_MS = 2000;

function apply(data) {
  const states = new Map(data.models.map((model) => [model.name, model]));
  document.querySelectorAll("[data-model]").forEach((element) => {
    const model = states.get(element.dataset.model);
    if (!model) return;
    const badge = element.querySelector("[data-state]");
    if (badge.textContent !== model.label) announce(`${model.name}: ${model.label}. ${model.reason}`);
    badge.textContent = model.label;
    badge.className = `badge ${model.tone}`;
    element.querySelector("[data-reason]").textContent = model.reason;
  });
}

const source = document.querySelector("[data-model-states]");
if (source) poll(source.dataset.modelStates, INTERVAL_MS, apply);
