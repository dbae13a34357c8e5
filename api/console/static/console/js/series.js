// The series of a job as the charts need them: columns from the server, then live points behind them. However long a
// page stays open, it holds at most MAX_POINTS points: beyond them, neighbours are joined into buckets.

const MAX_POINTS = 1000;
const KEYS = {
  loss: "train_loss", lr: "learning_rate", grad: "grad_norm", tps: "tokens_per_s", gpu: "gpu_utilization", memory: "gpu_memory_bytes",
};
const RANGED = ["loss", "grad", "tps", "gpu"]; // charts that show minimum and maximum of each bucket
const COLUMNS = ["step", "tokens", "active_s", "segment", "superseded", "smooth", ...Object.keys(KEYS), "loss_bad", "grad_bad"];

export class Series {
  constructor(address) {
    this.address = address;
    this.loads = 0; // in flight; the events that arrive meanwhile are pending, as an answer may lack them
    this.clear();
  }

  clear() {
    this.isLoaded = false;
    this.head = 0;
    this.points = [];
    this.valid = [];
    this.resumes = [];
    this.bucketSize = 1;
    this.pending = [];
  }

  /** Load the series of a view {smoothing, from, to}; a later call wins over an earlier one. */
  async load(view) {
    const query = new URLSearchParams({ s: String(view.smoothing) });
    if (view.from !== null) query.set("from", view.from);
    if (view.to !== null) query.set("to", view.to);
    this.call = (this.call ?? 0) + 1;
    const call = this.call;
    this.loads += 1;
    try {
      const response = await fetch(`${this.address}?${query}`, { headers: { accept: "application/json" } });
      if (!response.ok) throw new Error(String(response.status));
      const data = await response.json();
      if (call !== this.call) return false;
      this._replace(data, view);
      return true;
    } finally {
      this.loads -= 1;
      if (!this.loads) this.pending = [];
    }
  }

  _replace(data, view) {
    const train = data.train;
    this.points = train.step.map((_, index) => bucket(train, index, data.bucket_size));
    if (this.points.length) this.points[this.points.length - 1].count = data.last_bucket_size;
    this.valid = data.valid.step.map((step, index) => ({ step, loss: data.valid.loss[index], is_best: data.valid.is_best[index] }));
    this.resumes = data.resumes;
    this.bucketSize = data.bucket_size;
    this.base = data.base_s; // active seconds before the latest attempt
    this.segment = data.segment;
    this.average = data.average;
    this.smoothing = view.smoothing;
    this.head = data.head;
    this.isLoaded = true;
    const pending = this.pending;
    this.pending = [];
    pending.forEach((event) => this.add(event, view));
  }

  /** Add a metrics event. Returns "reload" if the series has to be loaded again. */
  add(event, view) {
    if (!this.isLoaded || this.loads) this.pending.push(event);
    if (!this.isLoaded) return "";
    const data = event.data;
    if (event.number <= this.head || !data) return "";
    if (data.start_step !== undefined) return this.points.length ? "reload" : "";
    if (event.type !== "metrics") return "";
    this.head = event.number;
    if ("valid_loss" in data) {
      if (isInside(data.step, view)) {
        this.valid.push({ step: data.step, loss: data.valid_loss, is_best: data.is_best });
        if (this.valid.length > MAX_POINTS) this.valid = halfOf(this.valid);
      }
      return "";
    }
    this._addPoint(data, view);
    return "";
  }

  _addPoint(data, view) {
    const point = {
      step: data.step, tokens: data.trained_tokens ?? 0, active_s: this.base + (data.elapsed_s ?? 0),
      segment: this.segment, superseded: false, smooth: null, count: 1,
      loss_bad: data.train_loss === null ? 1 : 0, grad_bad: data.grad_norm === null ? 1 : 0,
    };
    Object.entries(KEYS).forEach(([name, key]) => (point[name] = data[key] ?? null));
    if (point.loss !== null) {
      this.average.total = this.smoothing * this.average.total + (1 - this.smoothing) * point.loss;
      this.average.weight = this.smoothing * this.average.weight + (1 - this.smoothing);
    }
    point.smooth = this.average.weight ? this.average.total / this.average.weight : null;
    if (!isInside(point.step, view)) return;
    append(this.points, point, this.bucketSize);
    if (this.points.length <= MAX_POINTS) return;
    this.bucketSize *= 2;
    const points = [];
    this.points.forEach((each) => append(points, each, this.bucketSize));
    this.points = points;
  }
}

function bucket(columns, index, count) {
  const point = { count };
  COLUMNS.forEach((name) => (point[name] = columns[name][index]));
  if (columns.loss_min) {
    RANGED.forEach((name) => {
      point[`${name}_min`] = columns[`${name}_min`][index];
      point[`${name}_max`] = columns[`${name}_max`][index];
    });
  }
  return point;
}

/** Append a point, or join it to the last one if both are of one attempt and are at most `size` steps. */
function append(points, point, size) {
  const last = points[points.length - 1];
  const isApart = !last || last.count + point.count > size || last.segment !== point.segment || last.superseded !== point.superseded;
  if (isApart) points.push(point);
  else points[points.length - 1] = joined(last, point);
}

/** Return a point with the values of the second, and minimum, maximum and faults of both. */
function joined(first, second) {
  const point = { ...second, count: first.count + second.count };
  point.loss_bad += first.loss_bad;
  point.grad_bad += first.grad_bad;
  RANGED.forEach((name) => {
    const [low, high] = [`${name}_min`, `${name}_max`];
    point[low] = extreme(Math.min, first[low] ?? first[name], second[low] ?? second[name]);
    point[high] = extreme(Math.max, first[high] ?? first[name], second[high] ?? second[name]);
  });
  return point;
}

function extreme(choose, one, other) {
  return one === null ? other : other === null ? one : choose(one, other);
}

/** Return every other evaluation, the lowest one and the last one. */
function halfOf(evaluations) {
  const best = evaluations.reduce((low, each) => (each.loss !== null && (low === null || each.loss < low.loss) ? each : low), null);
  return evaluations.filter((each, index) => index % 2 || each === best || index === evaluations.length - 1);
}

function isInside(step, view) {
  return (view.from === null || step >= view.from) && (view.to === null || step <= view.to);
}
