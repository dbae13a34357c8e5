// The charts of a job: one horizontal axis, one crosshair, zoom by dragging, a table with the same values.

import { fill, number, shortCount } from "./format.js";

const NO_DATA_PX = 40; // farther from a logged step, the pointer shows no data
const MAX_ROWS = 5000;

/** Return the position of a point on an axis: step, tokens or time. */
function position(point, axis) {
  return axis === "tokens" ? point.tokens : axis === "time" ? point.active_s : point.step;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: get("text"), muted: get("muted"), line: get("line"), accent: get("chart-1"), valid: get("chart-2"),
    third: get("chart-3"), bad: get("bad"), strong: get("line-strong"), surface: get("surface"),
  };
}

export class Charts {
  /** `texts`: translated words. `onZoom(from, to)` is called with steps, or nulls; `stepAddress(step)` returns the page of a step. */
  constructor(root, texts, onZoom, stepAddress) {
    this.texts = texts;
    this.onZoom = onZoom;
    this.stepAddress = stepAddress;
    this.hovered = null;
    this.figures = [...root.querySelectorAll("[data-chart]")].map((figure) => this._figure(figure));
    document.addEventListener("themechange", () => this._restyle());
  }

  _figure(figure) {
    const canvas = figure.querySelector("canvas");
    const name = figure.dataset.chart;
    let legend = figure.querySelector("[data-legend]");
    if (!legend) {
      legend = document.createElement("span");
      legend.className = "legend";
      legend.dataset.legend = "";
      figure.querySelector("figcaption").append(" ", legend);
    }
    const entry = { name, figure, canvas, legend };
    entry.chart = new window.Chart(canvas, this._options(name, entry));
    this._listen(entry);
    return entry;
  }

  _options(name, entry) {
    return {
      type: "line",
      data: { datasets: [] },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true,
        events: [],
        layout: { padding: { right: 12 } },
        plugins: { legend: { display: false }, tooltip: { enabled: false } },
        scales: {
          x: { type: "linear", ticks: { maxTicksLimit: 7, maxRotation: 0, callback: (value) => shortCount(value) } },
          y: { type: "linear", ticks: { maxTicksLimit: 5, callback: (value) => number(value, 5) } },
          marks: { axis: "y", type: "linear", display: false, min: 0, max: 1 },
        },
      },
      plugins: [{ id: "overlay", afterDatasetsDraw: (chart) => this._overlay(chart, entry) }],
    };
  }

  /** Draw a series in a view {axis, smoothing, isLog, from, to}. */
  draw(series, view) {
    this.series = series;
    this.view = view;
    this.palette = colours();
    this.xs = series.points.map((point) => position(point, view.axis));
    if (this.hovered > 0) this.hovered = this._indexOf(this.hoveredPoint);
    this.figures.forEach((entry) => this._draw(entry));
    this._readout();
  }

  /** Return the index of a point or of the bucket that it was joined to, null if there is none. */
  _indexOf(point) {
    if (!point) return null; // its bucket was joined to another one before it was drawn
    const index = this.series.points.findIndex((each) => each.step >= point.step && each.superseded === point.superseded);
    return index < 0 ? null : index;
  }

  _restyle() {
    if (this.series) this.draw(this.series, this.view);
  }

  _draw(entry) {
    const { chart, name } = entry;
    const { view, palette } = this;
    if (name === "gpu") this._showGpu(entry);
    const isLog = view.isLog && name === "loss";
    chart.data.datasets = this._datasets(name, isLog);
    const { x, y } = chart.options.scales;
    y.type = isLog ? "logarithmic" : "linear";
    for (const scale of [x, y]) {
      scale.grid = { color: palette.line };
      scale.border = { color: palette.strong };
      scale.ticks.color = palette.muted;
    }
    if (name === "gpu") Object.assign(y, { suggestedMin: 0, suggestedMax: 100 });
    const finite = this.xs.filter(Number.isFinite);
    x.min = view.from !== null && finite.length ? this._xOfStep(view.from) : undefined;
    x.max = view.to !== null && finite.length ? this._xOfStep(view.to) : undefined;
    chart.update("none");
    entry.figure.dataset.min = chart.scales.x.min;
    entry.figure.dataset.max = chart.scales.x.max;
  }

  /** Replace the chart by a sentence if steps were measured and none of them used a GPU. */
  _showGpu(entry) {
    const isAbsent = this.series.points.length > 0 && this.series.points.every((point) => point.gpu === null && point.memory === null);
    entry.figure.querySelector(".canvas-box").hidden = isAbsent;
    entry.figure.querySelector("[data-absent]").hidden = !isAbsent;
  }

  _xOfStep(step) {
    if (this.view.axis === "step") return step;
    const { points } = this.series;
    const index = points.findIndex((point) => point.step >= step && !point.superseded);
    return index < 0 ? this.xs[this.xs.length - 1] : this.xs[index];
  }

  _line(name, select, isLog) {
    const data = [];
    let segment = null;
    this.series.points.forEach((point, index) => {
      if (!select(point)) return;
      if (segment !== null && segment !== point.segment) data.push({ x: this.xs[index], y: NaN });
      segment = point.segment;
      const value = scaled(point[name], name);
      data.push({ x: this.xs[index], y: value === null || (isLog && value <= 0) ? NaN : value });
    });
    return data;
  }

  _datasets(name, isLog) {
    const { palette, view } = this;
    const few = this.series.points.length < 40;
    const line = (label, data, color, more = {}) => ({
      label, data, borderColor: color, backgroundColor: color, borderWidth: 1.8, pointRadius: few ? 2 : 0,
      spanGaps: false, tension: 0, ...more,
    });
    const isCurrent = (point) => !point.superseded;
    const isFaint = name === "loss" && view.smoothing > 0;
    const sets = [line(this.texts.training, this._line(name, isCurrent, isLog), palette.accent + (isFaint ? "55" : ""))];
    const old = this._line(name, (point) => point.superseded, isLog);
    if (old.length) sets.push(line(this.texts.superseded, old, palette.muted, { borderDash: [3, 3], borderWidth: 1.2 }));
    if (name === "loss") sets.push(...this._lossDatasets(line, isCurrent, isFaint, isLog));
    if (name === "loss" || name === "grad") sets.push(this._badMarks(name));
    if (this.series.bucketSize > 1 && name !== "lr") sets.push(...this._band(name, isLog));
    return sets;
  }

  _lossDatasets(line, isCurrent, isFaint, isLog) {
    const { palette, texts, view } = this;
    const sets = [];
    if (isFaint) sets.push(line(texts.smoothed, this._line("smooth", isCurrent, isLog), palette.accent, { borderWidth: 2.2, pointRadius: 0 }));
    const valid = this.series.valid.filter((each) => each.loss !== null);
    const data = valid.map((each) => ({ x: this._xOfEvaluation(each), y: each.loss })).sort((a, b) => a.x - b.x);
    const best = valid.reduce((low, each) => (low === null || each.loss < low.loss ? each : low), null);
    sets.push(line(texts.validation, data, palette.valid, { pointRadius: 3 }));
    if (best) {
      sets.push({ label: texts.best, data: [{ x: this._xOfEvaluation(best), y: best.loss }], showLine: false, pointStyle: "star", pointRadius: 8, borderColor: palette.valid, borderWidth: 2 });
    }
    return sets;
  }

  _xOfEvaluation(evaluation) {
    if (this.view.axis === "step") return evaluation.step;
    const { points } = this.series;
    let index = points.length - 1;
    while (index > 0 && (points[index].superseded || points[index].step > evaluation.step)) index -= 1;
    return index >= 0 ? this.xs[index] : 0;
  }

  _badMarks(name) {
    const data = this.series.points
      .map((point, index) => ({ x: this.xs[index], y: 0.04, bad: point[`${name}_bad`] }))
      .filter((mark) => mark.bad);
    return {
      label: "NaN", data, yAxisID: "marks", showLine: false, pointStyle: "triangle", pointRadius: 6,
      borderColor: this.palette.bad, backgroundColor: this.palette.bad,
    };
  }

  _band(name, isLog) {
    const low = this._line(`${name}_min`, (point) => !point.superseded, isLog);
    const high = this._line(`${name}_max`, (point) => !point.superseded, isLog);
    const none = { borderWidth: 0, pointRadius: 0, spanGaps: false };
    return [
      { label: "min", data: low, ...none, fill: "+1", backgroundColor: this.palette.accent + "33" },
      { label: "max", data: high, ...none },
    ];
  }

  // ---- crosshair ----

  _listen(entry) {
    const { canvas } = entry;
    canvas.addEventListener("pointermove", (event) => this._point(entry, event));
    canvas.addEventListener("pointerleave", () => this._hover(null));
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      entry.dragStart = event.offsetX;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", (event) => this._release(entry, event));
    canvas.addEventListener("keydown", (event) => this._key(event));
    canvas.addEventListener("dblclick", () => this.onZoom(null, null));
  }

  _nearest(entry, offsetX) {
    const { x } = entry.chart.scales;
    let index = null;
    let distance = Infinity;
    this.xs.forEach((value, each) => {
      const apart = Math.abs(x.getPixelForValue(value) - offsetX);
      if (apart < distance || (apart === distance && !this.series.points[each].superseded)) {
        distance = apart;
        index = each;
      }
    });
    return { index, distance };
  }

  _point(entry, event) {
    if (!this.series) return;
    if (entry.dragStart !== undefined) {
      entry.dragEnd = event.offsetX;
      entry.chart.draw();
      return;
    }
    const { index, distance } = this._nearest(entry, event.offsetX);
    this._hover(index !== null && distance <= NO_DATA_PX ? index : -1);
  }

  _release(entry, event) {
    const start = entry.dragStart;
    entry.dragStart = entry.dragEnd = undefined;
    if (start === undefined || Math.abs(event.offsetX - start) < 8) {
      entry.chart.draw();
      if (start === undefined || !this.series) return;
      const { index, distance } = this._nearest(entry, event.offsetX);
      if (distance <= NO_DATA_PX) this._open(index);
      return;
    }
    const steps = [start, event.offsetX].map((offset) => this.series.points[this._nearest(entry, offset).index]?.step ?? 0);
    this.onZoom(Math.min(...steps), Math.max(...steps));
  }

  _key(event) {
    const count = this.xs?.length ?? 0;
    if (!count) return;
    const current = this.hovered === null || this.hovered < 0 ? -1 : this.hovered;
    if (event.key === "Enter" && current >= 0) {
      this._open(current);
      return;
    }
    const target = { ArrowRight: current + 1, ArrowLeft: current < 0 ? count - 1 : current - 1, Home: 0, End: count - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this._hover(Math.min(count - 1, Math.max(0, target)));
  }

  /** Open the page of a point's step, or zoom to the steps that the point summarises. */
  _open(index) {
    const { step } = this.series.points[index] ?? {};
    if (step === undefined) return;
    const size = this.series.bucketSize;
    if (size > 1) this.onZoom(Math.max(1, step - size + 1), step);
    else location.assign(this.stepAddress(step));
  }

  _hover(index) {
    this.hovered = index;
    this.hoveredPoint = this.series?.points[index];
    this._readout();
    this.figures.forEach(({ chart }) => chart.draw());
  }

  _readout() {
    const line = document.getElementById("readout");
    line.dataset.hint ??= line.textContent;
    const point = this.hovered === null || this.hovered < 0 ? null : this.series?.points[this.hovered];
    if (this.hovered === null) line.textContent = line.dataset.hint;
    else if (!point) line.textContent = this.texts.nodata;
    else line.textContent = this._summary(point);
    if (point) this._showLink(point);
    this.figures.forEach((entry) => this._showLegend(entry, point));
  }

  /** Link the step pointed at last: the link stays while the pointer moves to it. */
  _showLink(point) {
    const link = document.getElementById("to-samples");
    link.hidden = this.series.bucketSize > 1;
    link.href = this.stepAddress(point.step);
    link.textContent = fill(this.texts.samples, { n: point.step });
  }

  _showLegend(entry, point) {
    if (this.hovered === null && entry.name === "loss") {
      const keys = [["1", this.texts.training], ["2", this.texts.validation]];
      entry.legend.replaceChildren(...keys.flatMap(([number, text]) => {
        const swatch = document.createElement("span");
        swatch.className = `swatch swatch-${number}`;
        return [swatch, ` ${text} `];
      }));
    } else {
      entry.legend.textContent = this._legend(entry, point);
    }
  }

  _legend(entry, point) {
    if (!point) return this.hovered === null ? "" : this.texts.nodata;
    const value = point[`${entry.name}_bad`] ? "NaN" : number(scaled(point[entry.name], entry.name));
    return `${this.texts.step} ${point.step}: ${value}`;
  }

  _summary(point) {
    const { texts } = this;
    const valid = this.series.valid.find((each) => each.step === point.step);
    const parts = [
      `${texts.step} ${point.step}`,
      `${texts.training} ${point.loss_bad ? "NaN" : number(point.loss)}`,
      this.view.smoothing > 0 ? `${texts.smoothed} ${number(point.smooth)}` : "",
      valid ? `${texts.validation} ${number(valid.loss)}` : "",
      `${texts.lr} ${number(point.lr)}`,
      `${texts.gradient} ${point.grad_bad ? "NaN" : number(point.grad)}`,
      `${shortCount(point.tps)} ${texts.rate}`,
      point.superseded ? texts.superseded : "",
    ];
    return parts.filter(Boolean).join(" · ");
  }

  _overlay(chart, entry) {
    if (!this.series) return;
    const { ctx, chartArea, scales } = chart;
    const at = (value, color, dash, width = 1) => {
      const pixel = scales.x.getPixelForValue(value);
      if (pixel < chartArea.left - 1 || pixel > chartArea.right + 1) return null;
      ctx.save();
      ctx.strokeStyle = color;
      ctx.setLineDash(dash);
      ctx.lineWidth = width;
      ctx.beginPath();
      ctx.moveTo(pixel, chartArea.top);
      ctx.lineTo(pixel, chartArea.bottom);
      ctx.stroke();
      ctx.restore();
      return pixel;
    };
    this.series.resumes.forEach((resume) => this._resumeMark(chart, entry, at, resume));
    const point = this.hovered === null || this.hovered < 0 ? null : this.hovered;
    if (point !== null) at(this.xs[point], this.palette.text, [], 1);
    if (entry.dragStart !== undefined && entry.dragEnd !== undefined) {
      ctx.save();
      ctx.fillStyle = this.palette.accent + "33";
      ctx.fillRect(entry.dragStart, chartArea.top, entry.dragEnd - entry.dragStart, chartArea.bottom - chartArea.top);
      ctx.restore();
    }
  }

  _resumeMark(chart, entry, at, resume) {
    const pixel = at(this._xOfStep(resume.step), this.palette.third, [4, 4], 1.4);
    if (pixel === null || entry.name !== "loss") return;
    const { ctx, chartArea } = chart;
    const text = fill(this.texts.resumed, { n: resume.step });
    ctx.save();
    ctx.fillStyle = this.palette.third;
    ctx.font = "12px system-ui, sans-serif";
    const isRight = pixel + ctx.measureText(text).width + 8 < chartArea.right;
    ctx.textAlign = isRight ? "left" : "right";
    ctx.fillText(text, pixel + (isRight ? 5 : -5), chartArea.top + 12);
    ctx.restore();
  }
}

function scaled(value, name) {
  if (value === null || value === undefined) return null;
  return name.startsWith("gpu") && value <= 1 ? value * 100 : value;
}

/** Write the points of a series into a table, each step with its evaluation and its note, linked to its page. */
export function fillTable(body, series, texts, stepAddress) {
  const byStep = new Map(series.valid.map((each) => [each.step, each]));
  const resumeSteps = new Set(series.resumes.map((each) => each.step));
  const shown = new Set();
  const rows = series.points.slice(-MAX_ROWS).map((point) => {
    const valid = point.superseded ? undefined : byStep.get(point.step);
    shown.add(valid);
    const notes = [point.superseded ? texts.superseded : "", !point.superseded && resumeSteps.has(point.step - 1) ? fill(texts.resumed, { n: point.step - 1 }) : "", valid?.is_best ? texts.best : ""];
    return cells(point.step, [
      point.loss_bad ? "NaN" : number(point.loss, 6), number(point.smooth, 6), valid ? number(valid.loss, 6) : "", number(point.lr),
      point.grad_bad ? "NaN" : number(point.grad), number(point.tps), number(point.active_s, 6), notes.filter(Boolean).join(", "),
    ], point, stepAddress);
  });
  const others = series.valid.filter((each) => !shown.has(each)).map((each) => cells(each.step, ["", "", number(each.loss, 6), "", "", "", "", each.is_best ? texts.best : ""], {}));
  body.replaceChildren(...others.filter((row) => Number(row.dataset.step) === 0), ...rows, ...others.filter((row) => Number(row.dataset.step) !== 0));
}

function cells(step, values, point, stepAddress) {
  const row = document.createElement("tr");
  row.dataset.step = step;
  row.dataset.train = point.step === undefined ? "" : "1";
  if (point.superseded) row.className = "superseded";
  const head = document.createElement("th");
  head.scope = "row";
  head.append(stepAddress ? Object.assign(document.createElement("a"), { href: stepAddress(step), textContent: step }) : step);
  row.append(head, ...values.map((value) => Object.assign(document.createElement("td"), { textContent: value })));
  return row;
}
