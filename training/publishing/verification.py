"""The verification of an adapter: a live worker's log-probs against the trainer's, before it is published."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inference_worker.client.interface import ClientError
from inference_worker.protocol.messages import AdapterRef, Heartbeat
from training.choices import JobPhase
from training.engine.spec import ScoringSpec, TokenSequence
from training.jobs.failures import Failure, no_worker_failure
from training.publishing.agreement import Agreement, Comparison, check_agreement
from training.publishing.engine_session import EngineCallError, EngineSession, Generation
from training.publishing.errors import PublishingError, verification_error
from training.publishing.scoring import ScoringError, run_scoring

logger = logging.getLogger("cyllm.training.verification")

MAX_PROMPTS = 8
GENERATED_TOKENS = 24
POLL_S = 0.5
ReportPhase = Callable[[JobPhase], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An adapter to verify. ``ref`` has a private name. Folders are on this machine."""

    ref: AdapterRef
    folder: Path
    base_folder: Path
    prompts: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationContext:
    """Means of a verification. ``environment`` and ``threads``: of the scoring process.

    ``report_phase`` is called at least each second; it raises to interrupt. ``wait_s``: time to wait for a
    worker.
    """

    redis_url: str
    wait_s: float
    environment: Mapping[str, str]
    threads: int | None
    report_phase: ReportPhase


def verify(candidate: Candidate, context: VerificationContext) -> Agreement:
    """Return the figures of a successful verification. Raises PublishingError, and what the report raises."""
    phase = JobPhase.WAITING_FOR_WORKER

    def check() -> None:
        context.report_phase(phase)

    with EngineSession(context.redis_url, check) as session:
        worker = _wait_for_worker(session, candidate.ref, context.wait_s, check)
        phase = JobPhase.VERIFYING
        check()
        try:
            with_adapter = _generate(session, worker, candidate, candidate.ref)
            with_base = _generate(session, worker, candidate, None)
        except EngineCallError as error:
            logger.error("%s failed on %s: %s", candidate.ref.name, worker.worker_id, error)
            raise _call_error(error, worker) from None
    return _compare(candidate, worker, with_adapter, with_base, context, check)


def _wait_for_worker(
    session: EngineSession, ref: AdapterRef, wait_s: float, check: Callable[[], None]
) -> Heartbeat:
    """Return a ready worker of the base model that can load the adapter. Raises PublishingError."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            workers = [worker for worker in session.workers() if ref.base_model in worker.models]
        except ClientError:
            workers = []
        capable_workers = [worker for worker in workers if worker.max_lora_rank >= ref.rank]
        if capable_workers:
            return min(capable_workers, key=lambda worker: worker.running + worker.waiting)
        if time.monotonic() >= deadline:
            raise PublishingError(_no_worker(ref, workers))
        check()
        time.sleep(POLL_S)


def _no_worker(ref: AdapterRef, workers: Sequence[Heartbeat]) -> Failure:
    failure = replace(no_worker_failure(ref.base_model), is_transient=True)
    if not workers:
        return failure
    highest = max(worker.max_lora_rank for worker in workers)
    reason = f"loads adapters of rank {ref.rank}; the maximum is {highest}"
    return replace(failure, message=f"No inference worker of {ref.base_model} {reason}.")


def _generate(
    session: EngineSession, worker: Heartbeat, candidate: Candidate, adapter: AdapterRef | None
) -> list[Generation]:
    model = candidate.ref.base_model if adapter is None else adapter.name
    prompts = _usable_prompts(candidate.prompts, worker.max_model_len)
    return session.generate(worker, model, adapter, prompts, GENERATED_TOKENS)


def _usable_prompts(prompts: Sequence[Sequence[int]], context_tokens: int) -> list[tuple[int, ...]]:
    """Return the ends of some prompts, as far as they leave room for the generated tokens."""
    limit = max(context_tokens - GENERATED_TOKENS, 1) if context_tokens else None
    return [tuple(prompt[-limit:] if limit else prompt) for prompt in prompts if prompt][:MAX_PROMPTS]


def _compare(
    candidate: Candidate,
    worker: Heartbeat,
    with_adapter: Sequence[Generation],
    with_base: Sequence[Generation],
    context: VerificationContext,
    check: Callable[[], None],
) -> Agreement:
    prompts = _usable_prompts(candidate.prompts, worker.max_model_len)
    spec = ScoringSpec(
        base_model=str(candidate.base_folder),
        adapter_dir=str(candidate.folder),
        sequences=(*_sequences(prompts, with_adapter), *_sequences(prompts, with_base)),
        threads=context.threads,
    )
    try:
        scores = run_scoring(spec, context.environment, check)
    except ScoringError as error:
        logger.error("%s can't be scored: %s", candidate.ref.name, error)
        raise scoring_error(error) from None
    count = len(with_adapter)
    comparison = Comparison(
        engine_adapter=[generation.logprobs for generation in with_adapter],
        trainer_adapter=scores.adapter[:count],
        trainer_base=scores.base[:count],
        engine_on_base=[generation.logprobs for generation in with_base],
        trainer_on_base=scores.base[count:],
    )
    agreement = check_agreement(comparison, worker.dtype)
    logger.info("%s is verified: %s", candidate.ref.name, agreement)
    return agreement


def scoring_error(error: ScoringError) -> PublishingError:
    """Return the error of a fine-tuned model that could not be scored."""
    if error.is_out_of_memory:
        return PublishingError(
            Failure(
                code="out_of_memory",
                message="Memory ran out on the training worker while the fine-tuned model was verified.",
                next_step="Resume the job when the training worker has more free memory; the result is "
                "published without training again.",
                is_transient=True,
            )
        )
    if error.is_killed:
        return PublishingError(
            Failure(
                code="trainer_crashed",
                message="The trainer was killed by a signal while the fine-tuned model was verified.",
                next_step="The training worker's log has the details. Resume the job; the result is "
                "published without training again.",
                is_transient=True,
            )
        )
    return verification_error(
        "The trainer can't load the fine-tuned model that it saved.",
        "Ask the operator to look into the training worker's log.",
    )


def _sequences(prompts: Sequence[tuple[int, ...]], generations: Sequence[Generation]) -> list[TokenSequence]:
    return [
        TokenSequence(prompt, generation.token_ids)
        for prompt, generation in zip(prompts, generations, strict=True)
    ]


def _call_error(error: EngineCallError, worker: Heartbeat) -> PublishingError:
    if error.is_transient:
        return PublishingError(
            Failure(
                code="worker_lost",
                message="The inference worker could not complete the verification of the fine-tuned model.",
                is_transient=True,
            )
        )
    return verification_error(
        "The inference worker can't load the fine-tuned model.",
        f"Ask the operator to look into the log of the worker {worker.worker_id}.",
    )
