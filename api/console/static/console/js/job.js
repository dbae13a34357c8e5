// The page of a job: charts, live events, tabs, and the view in the address.

import { Charts, fillTable } from "./charts.js";
import { duration, fill, number, shortCount } from "./format.js";
import { Series } from "./series.js";
import { announce } from "./page.js";
import { follow } from "./socket.js";

const RETRY_MS = 3000;
const LOG_MS = 10_000;
const root = document.getElementById("job");
const texts = document.getElementById("texts").dataset;
const get = (id) => document.getElementById(id);
const controls = { axis: get("axis"), smoothing: get("smoothing"), log: get("log-scale"), table: get("as-table") };
const view = readView();
const series = new Series(root.dataset.series);
const stepAddress = (step) => root.dataset.step.replace(/0\/$/, `${step}/`);
let charts = null;
let redraw = 0;
let refresh = 0;

// ---- the view, kept in the address ----

function readView() {
  const query = new URLSearchParams(location.search);
  const step = (name) => (/^\d{1,9}$/.test(query.get(name) ?? "") ? Number(query.get(name)) : null);
  const axis = ["tokens", "time"].includes(query.get("x")) ? query.get("x") : "step";
  const smoothing = Math.min(0.99, Math.max(0, Number(query.get("s")) || 0));
  return { axis, smoothing, isLog: query.get("log") === "1", isTable: query.get("table") === "1", from: step("from"), to: step("to") };
}

function writeView() {
  const url = new URL(location.href);
  const values = {
    x: view.axis === "step" ? null : view.axis, s: view.smoothing || null, log: view.isLog ? 1 : null,
    table: view.isTable ? 1 : null, from: view.from, to: view.to,
  };
  Object.entries(values).forEach(([name, value]) => (value === null ? url.searchParams.delete(name) : url.searchParams.set(name, value)));
  history.replaceState(history.state, "", url);
}

function showControls() {
  controls.axis.value = view.axis;
  controls.smoothing.value = view.smoothing;
  controls.log.checked = view.isLog;
  controls.table.checked = view.isTable;
  get("smoothing-value").textContent = view.smoothing;
  get("reset-zoom").hidden = view.from === null && view.to === null;
  get("table-box").hidden = !view.isTable;
  get("charts").hidden = view.isTable;
}

controls.axis.addEventListener("change", () => change({ axis: controls.axis.value }));
controls.log.addEventListener("change", () => change({ isLog: controls.log.checked }));
controls.table.addEventListener("change", () => change({ isTable: controls.table.checked }));
let slider = 0;
controls.smoothing.addEventListener("input", () => {
  view.smoothing = Number(controls.smoothing.value);
  get("smoothing-value").textContent = view.smoothing;
  clearTimeout(slider);
  slider = setTimeout(() => change({}, true), 150);
});
get("reset-zoom").addEventListener("click", () => {
  change({ from: null, to: null }, true);
  controls.axis.focus();
});

function change(values, needsLoad = false) {
  Object.assign(view, values);
  writeView();
  showControls();
  if (needsLoad && !series.loads) load();
  else draw();
}

// ---- drawing ----

let loadRetry = 0;
async function load() {
  clearTimeout(loadRetry);
  try {
    if (!(await series.load({ ...view }))) return;
    showProblem("series", "");
    draw();
  } catch {
    showProblem("series", texts.failed);
    clearTimeout(loadRetry);
    loadRetry = setTimeout(load, RETRY_MS);
  }
}

function draw() {
  if (!series.isLoaded) return;
  get("no-points").hidden = series.points.length + series.valid.length > 0;
  if (view.isTable) fillTable(get("points").tBodies[0], series, texts, stepAddress);
  else charts.draw(series, view);
  showBadPoints();
  get("bucket-note").hidden = series.bucketSize === 1;
  get("bucket-note").textContent = fill(texts.bucket, { n: series.bucketSize });
}

function scheduleDraw() {
  redraw ||= setTimeout(() => {
    redraw = 0;
    draw();
  }, 250);
}

function showBadPoints() {
  const bad = series.points.filter((point) => point.loss_bad || point.grad_bad);
  const count = bad.reduce((sum, point) => sum + Math.max(point.loss_bad, point.grad_bad), 0);
  const notice = get("bad-points");
  notice.hidden = !count;
  const steps = bad.slice(0, 8).map((point) => point.step).join(", ") + (bad.length > 8 ? ", …" : "");
  if (count) notice.textContent = fill(texts.nan, { n: count, steps });
}

// ---- live events ----

let latestStep = null;

function receive(events) {
  let needsLoad = false;
  events.forEach((event) => {
    if (series.add(event, view) === "reload") needsLoad = true;
    if (event.type === "metrics") showProgress(event.data);
    if (event.type === "metrics" && !("valid_loss" in event.data)) latestStep = event;
  });
  if (needsLoad) load();
  else scheduleDraw();
  if (events.some((event) => event.type !== "metrics")) scheduleRefresh();
}

function showProgress(data) {
  if ("valid_loss" in data) {
    const best = get("live-best");
    if (data.is_best && data.valid_loss !== null) {
      best.textContent = number(data.valid_loss);
      best.title = data.valid_loss;
    }
    return;
  }
  const percent = Math.min(99, Math.floor((100 * data.step) / data.total_steps));
  const etaS = data.step < data.total_steps ? data.eta_s : null; // afterwards, the result is verified
  const values = {
    "live-step": data.step.toLocaleString("en"), "live-total": data.total_steps.toLocaleString("en"), "live-percent": percent,
    "live-eta": duration(etaS), "live-tps": shortCount(data.tokens_per_s), "live-tokens": shortCount(data.trained_tokens),
  };
  Object.entries(values).forEach(([id, value]) => {
    const element = get(id);
    if (element) element.textContent = value;
  });
  const progress = get("progress");
  if (progress) progress.value = percent;
  remember(data.step);
}

function scheduleRefresh() {
  refresh ||= setTimeout(async () => {
    refresh = 0;
    await refreshParts();
  }, 400);
}

let word = root.querySelector(".badge")?.textContent;
let refreshRetry = 0;
const shownParts = new Map(); // the HTML of each element, which its innerHTML may spell differently

async function refreshParts() {
  clearTimeout(refreshRetry);
  const options = { headers: { accept: "application/json" }, redirect: "manual" };
  const all = new URLSearchParams(location.search).get("checkpoints") === "all" ? "&checkpoints=all" : "";
  const response = await fetch(`${location.pathname}?part=live${all}`, options).catch(() => null);
  if (response?.type === "opaqueredirect") return showProblem("parts", texts.signedout);
  if (response?.status === 404) return showProblem("parts", texts.removed);
  const data = response?.ok ? await response.json().catch(() => null) : null;
  showProblem("parts", data ? "" : texts.failed);
  if (!data) {
    clearTimeout(refreshRetry);
    refreshRetry = setTimeout(refreshParts, RETRY_MS);
    return;
  }
  Object.entries(data.parts).forEach(([name, html]) => replacePart(get(`part-${name}`), html));
  // The parts may have been rendered before the step that is shown.
  if (latestStep && latestStep.number > data.head) showProgress(latestStep.data);
  if (data.word !== word) announce(data.word);
  word = data.word;
}

function replacePart(element, html) {
  if (!element || shownParts.get(element) === html || element.querySelector("dialog[open]")) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  const offsets = [...element.querySelectorAll(".log")].map((log) => log.scrollTop);
  shownParts.set(element, html);
  element.innerHTML = html;
  element.querySelectorAll(".log").forEach((log, index) => (log.scrollTop = offsets[index] ?? 0));
  if (focused) get(focused)?.focus();
}

// ---- the connection ----

const problems = { socket: "", series: "", parts: "" };

/** Show what is wrong with one source of data, "" for nothing; of several problems, the first. */
function showProblem(source, problem) {
  problems[source] = problem;
  const text = Object.values(problems).find(Boolean) ?? "";
  const notice = get("connection");
  if (notice.textContent !== text) notice.textContent = text;
  notice.hidden = !text;
}

let pollAt = 0;
function poll() {
  if (Date.now() - pollAt < 4000) return;
  pollAt = Date.now();
  load();
  refreshParts();
}

let logTimer = 0;
function connect() {
  // Lines of the trainer's log are not events.
  logTimer = setInterval(() => {
    if (!get("panel-logs").hidden && !document.hidden) refreshParts();
  }, LOG_MS);
  follow(root.dataset.socket, Number(root.dataset.head), {
    events: receive,
    poll,
    state(name, age) {
      if (["ended", "signedout", "removed"].includes(name)) clearInterval(logTimer);
      if (name === "ended") refreshParts();
      const text = { reconnecting: texts.reconnecting, polling: `${texts.reconnecting} ${texts.polling}`, signedout: texts.signedout, removed: texts.removed }[name];
      showProblem("socket", text ? fill(text, { n: age }) : "");
    },
  });
}

// ---- since the last visit ----

function remember(step) {
  try {
    localStorage.setItem(`cyllm-job-${root.dataset.job}`, String(step));
  } catch {
    // Storage is off: there is no line at the next visit.
  }
}

function showSince() {
  let last = null;
  try {
    last = localStorage.getItem(`cyllm-job-${root.dataset.job}`);
  } catch {
    return;
  }
  const point = series.points[series.points.length - 1];
  if (!point) return;
  remember(point.step);
  if (last === null || point.step <= Number(last)) return;
  const parts = [fill(texts.since, { n: point.step - Number(last) })];
  const best = series.valid.filter((each) => each.loss !== null).reduce((low, each) => Math.min(low, each.loss), Infinity);
  if (Number.isFinite(best)) parts.push(fill(texts.bestAt, { loss: number(best) }));
  get("since").textContent = parts.join(" · ");
  get("since").hidden = false;
}

// ---- tabs ----

const tabs = [...document.querySelectorAll("[role=tab]")];
function selectTab(tab) {
  tabs.forEach((each) => {
    const isSelected = each === tab;
    each.setAttribute("aria-selected", String(isSelected));
    each.tabIndex = isSelected ? 0 : -1;
    get(each.getAttribute("aria-controls")).hidden = !isSelected;
  });
  const url = new URL(location.href);
  url.searchParams.set("tab", tab.dataset.tab);
  history.replaceState(history.state, "", url);
}
tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => selectTab(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    next.focus();
    selectTab(next);
  });
});

// ---- start ----

showControls();
charts = new Charts(document, texts, (from, to) => change({ from, to }, true), stepAddress);
await load();
showSince();
if (root.dataset.open === "true") connect();
