// The form of a new job: upload, report and estimate, and the review, which follows what is typed.

import { watchUpload } from "./upload.js";

const DEBOUNCE_MS = 400;
const REPORT_FIELDS = new Set(["training_file", "model", "method", "max_length", "n_epochs", "batch_size", "learning_rate", "rank", "target_modules", "adapter", "precision", "gradient_checkpointing"]);
const form = document.getElementById("new-job");
const report = document.getElementById("report");
const review = document.getElementById("review");
const methodField = document.getElementById("method");
const calls = new Map();

/** Replace an element by the answer to the form's values; a later call wins. */
async function fetchPart(element, address) {
  const call = (calls.get(element) ?? 0) + 1;
  calls.set(element, call);
  element.setAttribute("aria-busy", "true");
  const options = { method: "POST", body: new FormData(form), headers: { accept: "text/html" } };
  const response = await fetch(address, options).catch(() => null);
  if (calls.get(element) !== call) return;
  element.removeAttribute("aria-busy");
  if (!response?.ok) {
    showNote(element, form.dataset.failed, "notice error");
    return;
  }
  const open = [...element.querySelectorAll("details")].map((each) => each.open);
  element.innerHTML = await response.text();
  element.querySelectorAll("details").forEach((each, index) => {
    if (open[index] !== undefined) each.open = open[index];
  });
}

function showNote(element, textContent, className) {
  element.replaceChildren(Object.assign(document.createElement("p"), { textContent, className }));
}

const timers = {};
function debounce(name, action) {
  clearTimeout(timers[name]);
  timers[name] = setTimeout(action, DEBOUNCE_MS);
}

function updateReport() {
  if (!document.getElementById("training_file").value) return;
  if (!report.querySelector("dl")) showNote(report, report.dataset.busy, "muted");
  fetchPart(report, form.dataset.report);
}

function showMethodFields() {
  form.querySelectorAll("[data-method]").forEach((field) => (field.hidden = field.dataset.method !== methodField.value));
}

form.addEventListener("input", (event) => {
  if (event.target.id === "upload") return;
  debounce("review", () => fetchPart(review, form.dataset.review));
  if (REPORT_FIELDS.has(event.target.name)) debounce("report", updateReport);
  if (event.target === methodField) showMethodFields();
});

// A button of the report fills fields with the values that it proposes.
report.addEventListener("click", (event) => {
  const values = event.target.closest("[data-fill]")?.dataset.fill;
  if (!values) return;
  for (const [name, value] of Object.entries(JSON.parse(values))) {
    const field = form.elements[name];
    field.value = value;
    field.closest("details")?.setAttribute("open", "");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
});

watchUpload(form.dataset.upload, (file) => {
  ["training_file", "validation_file"].forEach((name) => document.getElementById(name).add(new Option(file.filename, file.id), 1));
  document.getElementById("training_file").value = file.id;
  updateReport();
  fetchPart(review, form.dataset.review);
});

showMethodFields();
fetchPart(review, form.dataset.review);
updateReport();
