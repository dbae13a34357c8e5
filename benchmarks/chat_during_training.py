"""Latency of chats during a job on the same machine: ``python -m benchmarks.chat_during_training``.

Needs a running stack and its ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``. Measures before a job, during it,
and again after it: the first and the last show the noise.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

CHATS = 25
TOKENS = 24
WARM_UP = 3
PAUSE_S = 0.2
EXAMPLES = 16


@dataclass(frozen=True)
class Latency:
    """Times of chats in seconds, from the request to the first token and to the end."""

    first_token_s: Sequence[float]
    total_s: Sequence[float]

    def line(self) -> str:
        """Return medians and 95th percentiles as text."""
        first = f"{_median(self.first_token_s) * 1000:.0f} ms (p95 {_p95(self.first_token_s) * 1000:.0f})"
        return f"first token {first}, whole {_median(self.total_s):.2f} s (p95 {_p95(self.total_s):.2f})"


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def measure(client: httpx.Client, model: str, count: int) -> Latency:
    """Send streamed chats of a fixed length, one after the other."""
    first_token_s, total_s = [], []
    for number in range(count):
        body = {
            "model": model,
            "stream": True,
            "max_tokens": TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "messages": [{"role": "user", "content": f"Tell me story number {number}."}],
        }
        start, first_at = time.monotonic(), 0.0
        with client.stream("POST", "/chat/completions", json=body) as response:
            for line in response.iter_lines():
                if not first_at and line.startswith("data: ") and '"content"' in line:
                    first_at = time.monotonic()
        first_token_s.append(first_at - start)
        total_s.append(time.monotonic() - start)
        time.sleep(PAUSE_S)
    return Latency(first_token_s, total_s)


def start_job(client: httpx.Client, model: str) -> str:
    """Start a job that outlasts the measurement, wait for its third step, and return its id."""
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good morning to you."}]
    lines = "".join(json.dumps({"messages": turns}) + "\n" for _ in range(EXAMPLES))
    upload = {"file": ("chats.jsonl", lines.encode())}
    file_id = client.post("/files", files=upload, data={"purpose": "fine-tune"}).json()["id"]
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": 2}}}
    body = {"model": model, "training_file": file_id, "method": method}
    job_id = str(client.post("/fine_tuning/jobs", json=body).json()["id"])
    while (client.get(f"/fine_tuning/jobs/{job_id}").json()["cyllm"]["step"] or 0) < 3:
        time.sleep(1)
    return job_id


def main() -> int:
    """Run the command."""
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    with httpx.Client(base_url=os.environ["OPENAI_BASE_URL"], headers=headers, timeout=120) as client:
        model = client.get("/models").json()["data"][-1]["id"]
        measure(client, model, WARM_UP)
        print(f"before: {measure(client, model, CHATS).line()}", flush=True)
        job_id = start_job(client, model)
        print(f"during: {measure(client, model, CHATS).line()}", flush=True)
        job = client.get(f"/fine_tuning/jobs/{job_id}").json()
        client.post(f"/fine_tuning/jobs/{job_id}/cancel")
        while client.get(f"/fine_tuning/jobs/{job_id}").json()["status"] == "running":
            time.sleep(1)
        print(f"after:  {measure(client, model, CHATS).line()}")
    return 0 if job["status"] == "running" else 1


if __name__ == "__main__":
    sys.exit(main())
