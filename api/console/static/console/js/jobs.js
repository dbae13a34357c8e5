// The list of jobs: rows change in place, new jobs wait behind a pill, and several jobs can be selected.

import { fill } from "./format.js";
import { poll } from "./poll.js";

const POLL_MS = 3000;
const table = document.getElementById("jobs");
const pill = document.getElementById("new-jobs");
const running = document.getElementById("running");
const compare = document.getElementById("compare");
const bulkCancel = document.getElementById("bulk-cancel");
const selectAll = document.getElementById("select-all");

document.querySelectorAll(".filters select").forEach((select) => {
  select.addEventListener("change", () => select.form.requestSubmit());
});

// ---- live rows ----

const rows = () => [...(table?.querySelectorAll("tr[data-job]") ?? [])];

function address() {
  const query = new URLSearchParams(location.search);
  query.set("part", "rows");
  query.set("ids", rows().map((row) => row.dataset.job).join(","));
  query.set("since", table?.dataset.newest ?? "");
  return `${location.pathname}?${query}`;
}

function update(data) {
  rows().forEach((row) => patch(row, data.rows[row.dataset.job]));
  if (running.dataset.html !== data.running && !running.contains(document.activeElement)) {
    running.dataset.html = data.running;
    running.innerHTML = data.running;
  }
  if (pill) {
    pill.hidden = !data.new;
    pill.textContent = fill(pill.dataset.one, { n: data.new });
  }
}

/** Replace the cells of a row that differ; the box of the row and the focus stay. */
function patch(row, html) {
  if (!html || row.dataset.html === html) return;
  row.dataset.html = html;
  const template = document.createElement("template");
  template.innerHTML = `<table><tbody><tr>${html}</tr></tbody></table>`;
  const fresh = [...template.content.querySelector("tr").children];
  const current = [...row.children].slice(1);
  fresh.forEach((cell, index) => {
    if (current[index].innerHTML !== cell.innerHTML && !current[index].contains(document.activeElement)) {
      current[index].replaceWith(cell);
    }
  });
}

poll(address, POLL_MS, update);

// ---- selection ----

function selected() {
  return [...document.querySelectorAll("input[name=job]:checked")].map((box) => box.value);
}

function showSelection() {
  const ids = selected();
  if (bulkCancel) bulkCancel.disabled = !ids.length;
  if (compare) {
    compare.setAttribute("aria-disabled", String(ids.length < 2));
    if (ids.length < 2) compare.removeAttribute("href");
    else compare.href = `${compare.dataset.address}?jobs=${ids.join(",")}`;
  }
  if (selectAll) selectAll.checked = ids.length > 0 && ids.length === rows().length;
}

table?.addEventListener("change", (event) => {
  if (event.target === selectAll) {
    rows().forEach((row) => (row.querySelector("input[name=job]").checked = selectAll.checked));
  }
  showSelection();
});
window.addEventListener("pageshow", showSelection);
