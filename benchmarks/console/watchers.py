"""Step rate of a real trainer without open job pages, and with twenty.

``python -m benchmarks.console.watchers --pages 20``. Starts Postgres, Valkey, a site and a training worker,
which trains a tiny model. Phases without and with sockets of job pages alternate; prints the steps per second
of each phase and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx

from benchmarks.console.site import ROOT, running_servers, running_site
from deploy.local.processes.supervisor import Program, Supervisor
from deploy.local.programs import training_program
from tests.people import session_key

if TYPE_CHECKING:  # importable before Django is set up
    from django.contrib.auth.models import User

MODEL = "tiny"
EXAMPLES = 2000
EPOCHS = 50
WARM_UP_STEPS = 50


def set_up() -> tuple[User, str]:
    """Create a tenant with a member, a key and a base model. Returns the member and the key."""
    from django.contrib.auth.models import User

    from inference_worker.registry.services import model_register
    from tenants.keys.services import key_create
    from tenants.members.services import membership_set
    from tenants.services import tenant_create

    tenant = tenant_create(slug="acme", name="Acme", actor="benchmark")
    member = User.objects.create_user("member")
    membership_set(tenant=tenant, user=member, role="member", actor="benchmark")
    model_register(name=MODEL, actor="benchmark")
    return member, key_create(tenant=tenant, name="key", actor="benchmark")[1]


def start_trainer(servers: Supervisor) -> None:
    """Start a training worker on the servers."""
    worker = training_program(dict(os.environ))
    servers.start(Program(name=worker.name, argv=worker.argv, env=worker.env, cwd=ROOT, stop_timeout_s=60))


def start_job(address: str, key: str) -> str:
    """Start a long job and wait until it trains. Returns its id."""
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good morning to you."}]
    lines = "".join(json.dumps({"messages": turns}) + "\n" for _ in range(EXAMPLES))
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{address}/v1", headers=headers, timeout=60) as client:
        upload = client.post(
            "/files", files={"file": ("chats.jsonl", lines.encode())}, data={"purpose": "fine-tune"}
        )
        method = {"hyperparameters": {"n_epochs": EPOCHS, "batch_size": 1}}
        body = {
            "model": MODEL,
            "training_file": upload.json()["id"],
            "method": {"type": "supervised", "supervised": method},
        }
        response = client.post("/fine_tuning/jobs", json=body)
        response.raise_for_status()
        job_id = str(response.json()["id"])
        while True:
            job = client.get(f"/fine_tuning/jobs/{job_id}").json()
            if job["status"] == "failed":
                raise RuntimeError(job["error"])
            if (job["cyllm"]["step"] or 0) >= WARM_UP_STEPS:
                return job_id
            time.sleep(0.5)


def steps_per_s(job_id: str, seconds: float) -> float:
    """Return the rate of the steps that were recorded in the last seconds."""
    from django.db import close_old_connections
    from django.utils import timezone

    from training.choices import EventType
    from training.models import JobEvent

    close_old_connections()
    since = timezone.now() - timedelta(seconds=seconds)
    metrics = JobEvent.objects.filter(job_id=job_id, type=EventType.METRICS, at__gt=since)
    steps = sorted(data["step"] for data in metrics.values_list("data", flat=True) if "train_loss" in data)
    return (steps[-1] - steps[0]) / seconds if steps else 0.0


async def watch(stack: AsyncExitStack, address: str, job_id: str, cookie: str, after: int) -> None:
    """Open the socket of a job page and read it until the stack is closed."""
    from websockets.asyncio.client import connect

    url = f"{address.replace('http', 'ws', 1)}/console/ws/acme/jobs/{job_id}/?after={after}"
    socket = await stack.enter_async_context(
        connect(url, origin=address, additional_headers={"cookie": f"sessionid={cookie}"})  # type: ignore[arg-type]
    )

    async def read() -> None:
        async for _ in socket:
            pass

    task = asyncio.create_task(read())
    stack.callback(task.cancel)


async def phase(address: str, job_id: str, cookie: str, pages: int, seconds: float) -> float:
    """Keep some job pages open for a while; return the steps per second."""
    from training.models import FineTuningJob

    job = await FineTuningJob.objects.aget(id=job_id)
    async with AsyncExitStack() as stack:
        for _ in range(pages):
            await watch(stack, address, job_id, cookie, job.next_event - 1)
        await asyncio.sleep(seconds)
        return await asyncio.to_thread(steps_per_s, job_id, seconds)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a phase")
    parser.add_argument("--phases", type=int, default=4, help="phases with pages, and as many without")
    options = parser.parse_args()
    from tests.models import tiny_folder

    with running_servers() as servers:
        os.environ["CYLLM_TRAINING_MODELS"] = f"{MODEL}={tiny_folder()}"
        member, key = set_up()
        cookie = session_key(member)
        with running_site(servers) as address:
            start_trainer(servers)
            job_id = start_job(address, key)
            rates: dict[int, list[float]] = {0: [], options.pages: []}
            for _ in range(options.phases):
                for pages, samples in rates.items():
                    rate = asyncio.run(phase(address, job_id, cookie, pages, options.seconds))
                    samples.append(rate)
                    print(f"{pages:3d} pages: {rate:.2f} steps/s", flush=True)
    without, with_pages = (statistics.median(samples) for samples in rates.values())
    ratio = with_pages / without
    print(f"median without {without:.2f}, with {options.pages} pages {with_pages:.2f}: {ratio:.3f}")


if __name__ == "__main__":
    main()
