"""The series of an open page, as its scripts keep and draw it: no live point is lost or doubled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from api.console.job_data.series import MAX_BUCKETS, columns, read_history

SCRIPTS = Path(__file__).resolve().parents[3] / "api" / "console" / "static" / "console" / "js"
SMOOTHING = 0.9
VALUES = ("train_loss", "grad_norm", "tokens_per_s", "gpu_utilization")
# Loads the series as the server gives it, then adds live events, each of them twice.
FOLLOW = """
import { readFileSync } from "node:fs";
const { script, data, events, smoothing } = JSON.parse(readFileSync(0, "utf8"));
globalThis.fetch = async () => ({ ok: true, json: async () => data });
const { Series } = await import(script);
const series = new Series("");
const view = { smoothing, from: null, to: null };
await series.load(view);
for (const event of events) for (const each of [event, event]) series.add(each, view);
console.log(JSON.stringify({ points: series.points, valid: series.valid, size: series.bucketSize }));
"""

# Points at a bucket that has been joined to another one since the charts were drawn, and draws them again.
POINT_AND_DRAW = """
const { script } = JSON.parse((await import("node:fs")).readFileSync(0, "utf8"));
const element = { dataset: {}, textContent: "" };
const root = { documentElement: { lang: "en" }, addEventListener() {}, getElementById: () => element };
globalThis.document = root;
globalThis.getComputedStyle = () => ({ getPropertyValue: () => "" });
const { Charts } = await import(script);
const texts = { nodata: "no data" };
const charts = new Charts({ querySelectorAll: () => [] }, texts, () => {}, () => "");
const points = Array.from({ length: 1000 }, (_, index) => ({ step: index + 1, superseded: false }));
const series = { points, bucketSize: 1, resumes: [], valid: [] };
const view = { axis: "step", smoothing: 0 };
charts.draw(series, view);
series.points = points.filter((_, index) => index % 2);
charts._hover(800);
charts._open(800);
const shown = [element.textContent];
charts.draw(series, view);
console.log(JSON.stringify([...shown, charts.hovered]));
"""

Event = tuple[int, float, dict[str, Any]]


def history_of(steps: int) -> list[Event]:
    """Return metrics of steps, some of them not finite, and of an evaluation every fifth one."""
    events: list[Event] = []
    for step in range(1, steps + 1):
        noise = step * 7919 % 101 / 10
        data: dict[str, Any] = {name: noise + place for place, name in enumerate(VALUES)}
        data |= {"step": step, "learning_rate": 1e-4, "trained_tokens": step * 10, "elapsed_s": float(step)}
        if step % 97 == 0:
            data["train_loss"] = None
        events.append((len(events) + 1, 0.0, data))
        if step % 5 == 0:
            loss = None if step == 50 else noise + 1
            events.append((len(events) + 1, 0.0, {"step": step, "valid_loss": loss, "is_best": False}))
    return events


def follow(events: list[Event], loaded_count: int) -> dict[str, Any]:
    """Return the series of a page that loads the first events and then receives the others."""
    live = [
        {"number": number, "created_at": at, "type": "metrics", "data": data}
        for number, at, data in events[loaded_count:]
    ]
    data = columns(read_history(events[:loaded_count]), smoothing=SMOOTHING)
    values = {"script": (SCRIPTS / "series.js").as_uri(), "data": data, "events": live}
    series: dict[str, Any] = run(FOLLOW, values | {"smoothing": SMOOTHING})
    return series


def run(code: str, values: dict[str, Any]) -> Any:
    """Return what the code prints about the values that it reads, as JSON."""
    if shutil.which("node") is None and not os.environ.get("CI"):
        pytest.skip("node is not installed")
    command = ["node", "--input-type=module", "--eval", code]
    process = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


@pytest.mark.parametrize("loaded_count", [0, 700, 2999])
def test_live_points_are_neither_lost_nor_doubled_and_keep_minimum_maximum_and_faults(
    loaded_count: int,
) -> None:
    events = history_of(6000)
    series = follow(events, loaded_count)
    points = series["points"]
    raw = [data for _, _, data in events if "train_loss" in data]
    assert len(points) <= MAX_BUCKETS
    assert sum(point["count"] for point in points) == len(raw)
    smooth = columns(read_history(events), smoothing=SMOOTHING)["train"]["smooth"]
    assert points[-1]["smooth"] == pytest.approx(smooth[-1], rel=1e-12)
    begin = 0
    for point in points:
        bucket = raw[begin : begin + point["count"]]
        begin += point["count"]
        losses = [data["train_loss"] for data in bucket if data["train_loss"] is not None]
        assert point["count"] <= series["size"]
        assert (point["step"], point["loss"]) == (bucket[-1]["step"], bucket[-1]["train_loss"])
        assert point["loss_bad"] == len(bucket) - len(losses)
        assert (point["loss_min"], point["loss_max"]) == (min(losses), max(losses))
        assert point["gpu_max"] == max(data["gpu_utilization"] for data in bucket)


def test_live_evaluations_keep_the_lowest_and_the_last_one() -> None:
    events = history_of(12_000)
    valid = follow(events, 100)["valid"]
    losses = [data["valid_loss"] for _, _, data in events if "valid_loss" in data]
    assert len(valid) <= MAX_BUCKETS + 1
    assert min(each["loss"] for each in valid if each["loss"] is not None) == min(filter(None, losses))
    assert valid[-1] == {"step": 12_000, "loss": losses[-1], "is_best": False}


def test_a_bucket_that_was_joined_before_it_was_drawn_has_no_data() -> None:
    assert run(POINT_AND_DRAW, {"script": (SCRIPTS / "charts.js").as_uri()}) == ["no data", None]
