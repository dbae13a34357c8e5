"""One vLLM worker of the tiny model in float32 beside the stack's, with one adapter from its start.

More are published through a folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from inference_worker.protocol import adapter_archive, codec, names
from inference_worker.protocol.adapter_archive import DigestWriter
from inference_worker.protocol.messages import AdapterRef, Heartbeat
from inference_worker.transport import changes
from tests.stack.conftest import OwnedStack
from tests.stacks import ROOT, wait_until
from tests.tuned import save_adapter
from training.publishing.engine_session import EngineSession, Generation

BASE, CAPACITY = "tiny-adapters", 3
STATIC = f"ft:{BASE}:demo:seven:1"


@dataclass
class AdapterWorker:
    """The worker, which keeps three adapters on demand, and has ``static`` from its start."""

    redis_url: str
    artifacts: Path
    model: Path
    static: Path
    process: subprocess.Popen[bytes]
    log: Path

    def heartbeat(self) -> Heartbeat | None:
        """Return the worker's last heartbeat."""
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-5000:]
        with redis.Redis.from_url(self.redis_url) as client:
            data = client.get(names.worker_key("adapters"))
        return codec.decode_heartbeat(data) if isinstance(data, bytes) else None

    def is_ready(self) -> bool:
        """Return whether it takes requests."""
        heartbeat = self.heartbeat()
        return heartbeat is not None and heartbeat.state == "ready"

    def loaded(self) -> tuple[str, ...]:
        """Return the digests of the adapters that it has loaded on demand."""
        heartbeat = self.heartbeat()
        return heartbeat.adapters if heartbeat else ()

    def publish(self, folder: Path, name: str = "candidate:x", *, rank: int = 8) -> AdapterRef:
        """Store the archive of an adapter."""
        partial = self.artifacts / "partial"
        with partial.open("wb") as target:
            writer = DigestWriter(target)
            adapter_archive.pack(folder, writer)
        partial.rename(self.artifacts / writer.hexdigest())
        return AdapterRef(name=name, base_model=BASE, sha256=writer.hexdigest(), rank=rank)

    def delete(self, ref: AdapterRef) -> None:
        """Delete an adapter, as the registry does."""
        (self.artifacts / ref.sha256).unlink(missing_ok=True)
        changes.publish(self.redis_url, changes.adapter_removed(ref.sha256))

    def generate(self, ref: AdapterRef | None, prompts: list[list[int]], tokens: int = 8) -> list[Generation]:
        """Generate with an adapter or the base model."""
        with EngineSession(self.redis_url, lambda: None) as session:
            (worker,) = [worker for worker in session.workers() if worker.worker_id == "adapters"]
            return session.generate(worker, ref.name if ref else BASE, ref, prompts, tokens)


@pytest.fixture(scope="package")
def adapter_worker(
    stack: OwnedStack, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AdapterWorker]:
    """A running worker of the stack."""
    folder = tmp_path_factory.mktemp("adapter-worker")
    (folder / "artifacts").mkdir()
    static = save_adapter(tiny_model, folder / "static", seed=99)
    redis_url = stack.environment["CYLLM_REDIS_URL"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CYLLM_")},
        "CYLLM_REDIS_URL": redis_url,
        "CYLLM_WORKER_ID": "adapters",
        "CYLLM_WORKER_MODEL": BASE,
        "CYLLM_WORKER_MODEL_PATH": str(tiny_model),
        "CYLLM_WORKER_ADAPTERS": f"{STATIC}={static}",
        "CYLLM_WORKER_MAX_ADAPTERS": str(CAPACITY),
        "CYLLM_WORKER_MAX_LORA_RANK": "16",
        "CYLLM_WORKER_ARTIFACT_DIR": str(folder / "artifacts"),
        "CYLLM_WORKER_ADAPTER_CACHE_DIR": str(folder / "cache"),
        "CYLLM_WORKER_DTYPE": "float32",
        "CYLLM_WORKER_KV_CACHE_GIB": "0.25",
        "CYLLM_WORKER_MAX_MODEL_LEN": "512",
    }
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference_worker.runtime"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
    worker = AdapterWorker(redis_url, folder / "artifacts", tiny_model, static, process, log)
    try:
        wait_until(worker.is_ready, "the worker is ready", timeout_s=180)
        yield worker
    finally:
        process.kill()  # the engine ends with its worker
        process.wait()
