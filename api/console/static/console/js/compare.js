// Overlaid losses of several jobs; each starts at its own first step.

import { number, shortCount } from "./format.js";

const entries = [...document.querySelectorAll("#legend li")];
const axis = document.getElementById("axis");
const add = document.getElementById("add");
const charts = [];

add?.addEventListener("change", () => {
  const ids = document.getElementById("compare-ids");
  ids.value = [...ids.value.split(","), add.value].filter(Boolean).join(",");
  document.getElementById("compare-form").requestSubmit();
});

async function load(entry) {
  const response = await fetch(entry.dataset.series);
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}

const series = await Promise.all(entries.map(load)).catch(() => []);
if (series.length < entries.length) document.getElementById("failure").hidden = false;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function training(data) {
  const { train } = data;
  const points = [];
  train.step.forEach((_, index) => {
    if (train.superseded[index]) return;
    points.push({ x: train[axis.value][index], y: train.loss[index] ?? NaN });
  });
  return points;
}

function validation(data) {
  const at = (step) => {
    if (axis.value === "step") return step;
    const index = data.train.step.findLastIndex((each, position) => each <= step && !data.train.superseded[position]);
    return index < 0 ? 0 : data.train[axis.value][index];
  };
  return data.valid.step.map((step, index) => ({ x: at(step), y: data.valid.loss[index] ?? NaN }));
}

function draw() {
  charts.splice(0).forEach((chart) => chart.destroy());
  document.querySelectorAll("[data-compare]").forEach((figure) => {
    const select = figure.dataset.compare === "loss" ? training : validation;
    const datasets = series.map((data, index) => ({
      label: entries[index].dataset.title, data: select(data), borderColor: colour(`chart-${index + 1}`),
      backgroundColor: colour(`chart-${index + 1}`), borderWidth: 1.8, pointRadius: figure.dataset.compare === "valid" ? 3 : 0,
    }));
    const scale = { grid: { color: colour("line") }, ticks: { color: colour("muted"), maxTicksLimit: 6 } };
    charts.push(
      new window.Chart(figure.querySelector("canvas"), {
        type: "line",
        data: { datasets },
        options: {
          animation: false, maintainAspectRatio: false, parsing: false, interaction: { mode: "nearest", intersect: false },
          plugins: { legend: { display: false }, tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${number(item.parsed.y)}` } } },
          scales: {
            x: { type: "linear", ...scale, ticks: { ...scale.ticks, callback: (value) => shortCount(value) } },
            y: { ...scale, ticks: { ...scale.ticks, callback: (value) => number(value, 3) } },
          },
        },
      }),
    );
  });
}

axis?.addEventListener("change", draw);
document.addEventListener("themechange", draw);
if (entries.length) draw();
