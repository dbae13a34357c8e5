"""The failure of a job that no inference worker could verify, which is resumed rather than created again."""

from __future__ import annotations

from dataclasses import replace

from inference_worker.protocol.messages import AdapterRef
from tests.heartbeats import ready_heartbeat
from training.jobs.failures import no_worker_failure
from training.publishing import verification

REF = AdapterRef(name="ft:base", base_model="base", sha256="0" * 64, rank=64)


def test_a_job_without_a_worker_is_resumed_when_there_is_one() -> None:
    failure = no_worker_failure("base")
    assert failure.code == "no_inference_worker"
    assert failure.next_step == "Resume the job when an inference worker of the base model is running."
    assert verification._no_worker(REF, ()) == replace(failure, is_transient=True)


def test_a_rank_beyond_that_of_all_workers_is_the_reason() -> None:
    failure = verification._no_worker(REF, (ready_heartbeat("base"),))
    assert failure.message == "No inference worker of base loads adapters of rank 64; the maximum is 16."
    assert failure.next_step == no_worker_failure("base").next_step
