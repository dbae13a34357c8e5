"""Heartbeats of inference workers that tests write in place of a worker."""

from __future__ import annotations

from typing import Any

from inference_worker.protocol.messages import Heartbeat, WorkerState


def ready_heartbeat(*models: str, **changes: Any) -> Heartbeat:
    """Return the heartbeat of an idle vLLM worker that serves models and loads adapters up to rank 16.

    ``changes``: other values of its fields.
    """
    values: dict[str, Any] = {
        "worker_id": "gpu-1",
        "boot": "b",
        "channel": "c",
        "state": WorkerState.READY,
        "models": models,
        "max_model_len": 512,
        "running": 0,
        "waiting": 0,
        "stage": "",
        "stage_s": 0.0,
        "loop_lag_s": 0.0,
        "engine": "vllm",
        "hardware": "",
        "written_at": 0.0,
        "max_lora_rank": 16,
    }
    return Heartbeat(**{**values, **changes})
