// The usage page: the browser's time zone, and the chart in the colours of the theme.

import { cookie } from "./page.js";

const YEAR_S = 365 * 24 * 3600;
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const filters = document.getElementById("usage-filters");

function remember(name) {
  document.cookie = `cyllm_tz=${name}; path=/; max-age=${YEAR_S}; samesite=lax`;
}

// The first visit has been rendered in UTC: show the days of the viewer.
const input = document.getElementById("tz");
if (filters.hasAttribute("data-detect-zone") && zone && !cookie("cyllm_tz") && zone !== input.value) {
  remember(zone);
  if (cookie("cyllm_tz")) location.reload();
}
filters.addEventListener("submit", () => remember(input.value));

const zones = Intl.supportedValuesOf?.("timeZone") ?? [];
document.getElementById("zones").replaceChildren(
  ...["UTC", ...zones].map((name) => Object.assign(document.createElement("option"), { value: name })),
);

let data = JSON.parse(document.getElementById("usage-data").textContent);
const canvas = document.getElementById("usage-chart");
let measure = "tokens";
let chart = null;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Return a striped fill for the bucket that is still filling. */
function striped(base) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const context = tile.getContext("2d");
  context.strokeStyle = base;
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(0, 8);
  context.lineTo(8, 0);
  context.moveTo(-2, 2);
  context.lineTo(2, -2);
  context.moveTo(6, 10);
  context.lineTo(10, 6);
  context.stroke();
  return context.createPattern(tile, "repeat");
}

function datasets() {
  return data.series.map((series, index) => {
    const base = index < 6 ? colour(`--chart-${index + 1}`) : colour("--line-strong");
    const fills = data.labels.map((_, bucket) => (bucket === data.incomplete ? striped(base) : base));
    return { label: series.label, data: series[measure], backgroundColor: fills, borderColor: base, borderWidth: 1, stack: "usage" };
  });
}

function number(value) {
  if (measure === "cost") return `$${value.toLocaleString("en", { maximumFractionDigits: 6 })}`;
  return value.toLocaleString("en");
}

function draw() {
  chart?.destroy();
  const text = colour("--muted");
  const line = colour("--line");
  chart = new window.Chart(canvas, {
    type: "bar",
    data: { labels: data.labels, datasets: datasets() },
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        legend: { position: "bottom", labels: { color: text, boxWidth: 12 }, display: data.series.length > 0 },
        tooltip: {
          callbacks: {
            title: ([item]) => item.label + (item.dataIndex === data.incomplete ? ` (${data.incompleteText})` : ""),
            label: (item) => `${item.dataset.label}: ${number(item.raw)}`,
          },
        },
      },
      scales: {
        x: { stacked: true, grid: { display: false }, ticks: { color: text, maxRotation: 0, autoSkipPadding: 12 }, border: { color: line } },
        y: { stacked: true, beginAtZero: true, grid: { color: line }, ticks: { color: text, callback: number, maxTicksLimit: 6 }, border: { display: false } },
      },
    },
  });
}

document.querySelectorAll("[data-measure]").forEach((button) => {
  button.addEventListener("click", () => {
    measure = button.dataset.measure;
    document.querySelectorAll("[data-measure]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    draw();
  });
});
document.addEventListener("themechange", () => requestAnimationFrame(draw));
draw();

// Fresh figures once a minute while somebody looks at them; what has the focus stays.
const REFRESH_MS = 60_000;
const FRESH = [".budgets", "#parts-section", "#buckets tbody", "#buckets tfoot"];

async function refresh() {
  if (document.hidden) return;
  const response = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" }).catch(() => null);
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const selector of FRESH) {
    const [old, fresh] = [document.querySelector(selector), page.querySelector(selector)];
    if (old && fresh && !old.contains(document.activeElement)) old.replaceWith(fresh);
  }
  data = JSON.parse(page.getElementById("usage-data").textContent);
  draw();
}
setInterval(refresh, REFRESH_MS);
