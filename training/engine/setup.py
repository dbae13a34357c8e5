"""Preparation of a run: data, steps, precision, memory and model, each choice reported with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.datasets.tokens.sample_lines import pack_lines
from training.engine.attempt import KEPT, Attempt
from training.engine.checkpoints.fingerprint import fingerprint
from training.engine.checkpoints.plan import read_plan, write_plan
from training.engine.checkpoints.state import RunState
from training.engine.events import Prepared
from training.engine.hardware.device import Device, hardware_name, local_device, thread_count
from training.engine.hardware.memory_prediction import (
    MIB,
    InsufficientMemoryError,
    MemoryPlan,
    memory_model,
    plan_memory,
    read_shape,
)
from training.engine.hardware.precision import (
    PRECISIONS,
    Precision,
    can_compute,
    checkpoint_dtype,
    choose_precision,
    precision_of,
)
from training.engine.models.weights import BaseModelError, prepare_model, read_weights, restore_weights
from training.engine.objectives.batching import Batching, choose_batching
from training.engine.objectives.dataset import (
    CachedExamples,
    CachedPairs,
    DatasetFile,
    TrainingDataError,
    open_dataset,
)
from training.engine.objectives.preference import (
    Preference,
    read_references,
    reference_log_probs,
    write_references,
)
from training.engine.objectives.steps import StepPlan, sample_indices
from training.engine.objectives.supervised import Objective
from training.engine.processes import is_main_process, main_process_first, process_count, smallest_of_all


@dataclass(frozen=True)
class Data:
    """Tokenised files of a run."""

    training: DatasetFile
    validation: DatasetFile | None

    @property
    def longest(self) -> int:
        """Tokens of the longest example, trained on or evaluated."""
        files = (self.training, self.validation)
        return max(max(file.cache.lengths) for file in files if file is not None)


@dataclass(frozen=True)
class EvaluationSet:
    """Examples that measure the model: the validation file, or a sample of the training file."""

    objective: Objective
    indices: list[int]
    is_validation: bool


@dataclass(frozen=True)
class Setup:
    """Everything that a run trains with."""

    data: Data
    plan: StepPlan
    objective: Objective
    evaluation: EvaluationSet
    precision: Precision
    checkpoints_gradients: bool
    model: Any


def prepare(attempt: Attempt) -> Setup:
    """Prepare a run or resume it from its newest valid checkpoint.

    Raises StopRequestedError, UnsuitableHostError.
    """
    with main_process_first():
        if is_main_process():
            attempt.store.prepare()
        data = load_data(attempt)
    device = local_device()  # now that each process has its own
    resume_state(attempt, data)
    keep_device(attempt, device)
    plan = plan_steps(attempt, data)
    precision = _choose_precision(attempt, device)
    memory = _plan_memory(attempt, data, device, precision)
    attempt.control.check_stop()
    model = prepare_model(attempt.spec, precision)
    attempt.control.check_stop()
    batching = choose_batching(attempt, model, data.longest, precision, memory, device)
    keep_plan(attempt)
    objective = make_objective(attempt, data.training, batching, model)
    evaluation = _evaluation_set(attempt, data, objective, batching, model)
    if attempt.state.step:
        restore_weights(model, read_weights(attempt.store.path(attempt.state.step)))
    return Setup(data, plan, objective, evaluation, precision, memory.checkpoints_gradients, model)


def make_objective(attempt: Attempt, file: DatasetFile, batching: Batching, model: Any) -> Objective:
    """Return the objective of the run's method over a file. ``model``: with the weights of the base model."""
    if attempt.spec.method == "supervised":
        return batching.supervised(CachedExamples(file.cache))
    pairs = CachedPairs(file.cache)
    name = f"{attempt.state.fingerprint}-{file.digest}-{attempt.state.precision}.npy"
    path = Path(attempt.spec.work_dir) / "references" / name
    references = read_references(path, len(pairs))
    if references is None:
        limit = attempt.state.micro_batch_tokens
        references = reference_log_probs(model, pairs, batching, limit, attempt.control.check_stop)
        write_references(path, references)
    return Preference(pairs, batching, attempt.spec.dpo_beta, references)


# ---- data ----


def load_data(attempt: Attempt) -> Data:
    """Tokenise the files. Raises TrainingDataError."""
    spec = attempt.spec
    training = open_dataset(spec, Path(spec.training_file), "training")
    attempt.control.check_stop()
    path = spec.validation_file
    validation = open_dataset(spec, Path(path), "validation") if path is not None else None
    if spec.options.early_stopping and validation is None:
        raise TrainingDataError("Early stopping needs a validation file, and the job has none.")
    attempt.control.check_stop()
    return Data(training, validation)


def resume_state(attempt: Attempt, data: Data) -> None:
    """Set the attempt's state to that of the newest valid checkpoint, or to a new one."""
    digests = [data.training.digest, data.validation.digest if data.validation else ""]
    try:
        identity = fingerprint(attempt.spec, digests)
    except OSError as error:  # the tokens are those of an earlier attempt, and the folder is gone
        raise BaseModelError(str(error)) from error
    state = attempt.store.find_newest(identity) or read_plan(Path(attempt.spec.work_dir), identity)
    for checkpoint in attempt.store.skipped_checkpoints:
        message = f"The checkpoint of step {checkpoint.step} was skipped: {checkpoint.reason}."
        attempt.warn("checkpoint_skipped", message)
    threads = attempt.spec.threads or thread_count()
    attempt.state = state or RunState(fingerprint=identity, threads=threads)
    torch.set_num_threads(attempt.state.threads)
    if attempt.state.threads != threads:
        attempt.choose("threads", str(attempt.state.threads), KEPT)


def keep_device(attempt: Attempt, device: Device) -> None:
    """Check that the device is of the kind that the run began on. Raises UnsuitableHostError."""
    state, count = attempt.state, process_count()
    hardware = hardware_name(device) if count == 1 else f"{count} times {hardware_name(device)}"
    if state.device and state.device != device.kind:
        attempt.refuse_host(f"it began on {state.hardware}, and this worker has {hardware}")
        attempt.state = state = RunState(fingerprint=state.fingerprint, threads=state.threads)
    if state.step and state.hardware and state.hardware != hardware:
        message = f"The run began on {state.hardware} and continues on {hardware}: its result is the same"
        attempt.warn("rounding_differs", f"{message} up to rounding, but not to the bit.")
    else:
        state.hardware = hardware
    state.device = device.kind


def keep_plan(attempt: Attempt) -> None:
    """Keep the state of a run that has no checkpoint yet. Raises CheckpointWriteError."""
    if attempt.state.step == 0 and is_main_process():
        write_plan(Path(attempt.spec.work_dir), attempt.state)


def plan_steps(attempt: Attempt, data: Data) -> StepPlan:
    """Plan and report the steps of the run."""
    spec, training = attempt.spec, data.training
    count = len(training.cache)
    plan = StepPlan(count=count, seed=spec.seed, batch_size=spec.batch_size, epochs=spec.epochs)
    attempt.stream.send(
        Prepared(
            examples=count,
            tokens=training.tokens,
            trained_tokens=training.trained_tokens,
            truncated=training.truncated,
            dropped=training.dropped,
            total_steps=len(plan),
            start_step=attempt.state.step,
            sample_lines=pack_lines(training.cache.lines()),
        )
    )
    return plan


def _evaluation_set(
    attempt: Attempt, data: Data, objective: Objective, batching: Batching, model: Any
) -> EvaluationSet:
    if data.validation is None:
        indices = sample_indices(len(data.training.cache), attempt.spec.seed)
        return EvaluationSet(objective, indices, is_validation=False)
    validation = make_objective(attempt, data.validation, batching, model)
    return EvaluationSet(validation, list(range(len(data.validation.cache))), is_validation=True)


# ---- precision, memory, model ----


def _choose_precision(attempt: Attempt, device: Device) -> Precision:
    try:
        stored_dtype = checkpoint_dtype(Path(attempt.spec.base_model))
    except (OSError, ValueError) as error:
        raise BaseModelError(str(error)) from error
    options, state = attempt.spec.options, attempt.state
    precision = choose_precision(options, device, stored_dtype)
    if state.precision and state.precision != precision.compute:
        if can_compute(device, state.precision):
            precision = precision_of(options, state.precision, KEPT)
        else:
            attempt.refuse_host(f"it began in {state.precision}, which {hardware_name(device)} does not have")
    state.precision = PRECISIONS[smallest_of_all(PRECISIONS.index(precision.compute))]
    if state.precision != precision.compute:
        precision = precision_of(options, state.precision, "as in another process of this run")
    attempt.choose("precision", precision.compute, precision.reason)
    return precision


def _plan_memory(attempt: Attempt, data: Data, device: Device, precision: Precision) -> MemoryPlan:
    spec, training = attempt.spec, data.training
    try:
        shape = read_shape(Path(spec.base_model))
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelError(str(error)) from error
    share = training.trained_tokens / training.tokens
    model = memory_model(shape, spec.options, precision.compute, share)
    memory_bytes = min(spec.memory_bytes or device.memory_bytes, device.memory_bytes) // device.sharers
    available = memory_bytes >> spec.memory_failures
    if spec.memory_failures:
        # Killed by the kernel, a trainer had no chance to halve its micro-batches itself.
        message = f"Memory ran out before, so this attempt plans with {available // MIB} MiB."
        attempt.warn("less_memory_planned", message)
    longest = max(training.cache.lengths)
    least_bytes = model.predict(1, checkpoints_gradients=spec.options.gradient_checkpointing != "off")
    if least_bytes * device.sharers > device.total_bytes:  # the system would end other processes too
        demand = f"{least_bytes * device.sharers // MIB} MiB"
        raise InsufficientMemoryError(f"about {demand}, and the worker has {device.total_bytes // MIB} MiB")
    earlier_tokens = _tokens_at_once(attempt, longest)
    plan = plan_memory(
        model, spec.options, available, longest, is_cpu=device.is_cpu, earlier_tokens=earlier_tokens
    )
    value = "on" if plan.checkpoints_gradients else "off"
    figures = {"available_bytes": available, "peak_bytes": plan.peak_bytes, "is_cpu": int(device.is_cpu)}
    attempt.choose("gradient_checkpointing", value, plan.checkpointing_reason, figures)
    choose_micro_batch(attempt, plan, longest)
    return plan


def choose_micro_batch(attempt: Attempt, plan: MemoryPlan, longest: int) -> None:
    """Set the tokens of a micro-batch to those of an earlier attempt if they fit, otherwise as planned."""
    state = attempt.state
    # Compared with what fits at all, not with what fits safely: other sizes would change the last bits.
    if (earlier_tokens := _tokens_at_once(attempt, longest)) > plan.possible_tokens:
        if state.step:
            message = (
                f"The run began with {earlier_tokens} tokens in memory at once, which this worker does not"
            )
            attempt.warn(
                "rounding_differs",
                f"{message} have memory for: its result is the same up to rounding, but not to the bit.",
            )
        state.micro_batch_tokens = state.lanes = 0
    # Processes with different memory would divide a step differently, and share it wrongly.
    tokens = smallest_of_all(state.micro_batch_tokens or plan.micro_batch_tokens)
    if tokens != state.micro_batch_tokens:
        is_own = tokens == plan.micro_batch_tokens
        reason = plan.micro_batch_reason if is_own else "as in the process with the least memory"
        attempt.choose("micro_batch_tokens", str(tokens), reason)
    state.micro_batch_tokens = tokens


def _tokens_at_once(attempt: Attempt, longest: int) -> int:
    """Return how many tokens an earlier attempt's choices keep in memory at once; 0 if it chose none.

    A size that the request sets is not a choice: it stays as it is.
    """
    state = attempt.state
    lanes_tokens = state.lanes * longest if state.lanes > 1 else 0
    is_requested = attempt.spec.options.micro_batch_tokens is not None
    return max(lanes_tokens, 0 if is_requested else state.micro_batch_tokens)
