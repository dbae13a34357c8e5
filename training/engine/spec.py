"""The input of the trainer: everything that determines a run, as one JSON file."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Positive: TypeAlias = Annotated[int, Meta(ge=1)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
ALL_LINEAR = "all-linear"
PARTS = 10  # evaluations and checkpoints of a run whose intervals are not set
MAX_SERVED_RANK = 512  # of adapters in vLLM
# Names of embeddings and output layers, which engines don't apply adapters to, or not reliably.
UNSERVABLE_MODULES = frozenset({"embed_tokens", "lm_head", "wte", "word_embeddings", "output"})


class EarlyStopping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stop when the validation loss has not improved by ``threshold`` in ``patience`` evaluations."""

    patience: Positive
    threshold: Annotated[float, Meta(ge=0)] = 0.0


class TrainingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options beyond OpenAI's hyperparameters.

    ``target_modules``: module names, or ``("all-linear",)``. ``alpha`` None means twice the rank.
    ``max_length``: tokens per example. Intervals are in optimizer steps, None means chosen by the trainer.
    ``micro_batch_tokens``: upper bound of the tokens per forward pass.
    """

    adapter: Literal["lora", "dora", "full"] = "lora"
    rank: Positive = 8
    alpha: Annotated[float, Meta(gt=0)] | None = None
    dropout: Fraction = 0.0
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    max_length: Positive | None = None
    packing: Literal["auto", "on", "off"] = "auto"
    micro_batch_tokens: Positive | None = None
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: Fraction = 0.0
    weight_decay: Annotated[float, Meta(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Meta(gt=0)] = 1.0
    early_stopping: EarlyStopping | None = None
    logging_steps: Positive = 1
    eval_steps: Positive | None = None
    checkpoint_steps: Positive | None = None
    keep_checkpoints: Positive = 2


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One attempt of a fine-tuning job.

    ``base_model``: folder of the base model. ``work_dir``: folder of the job, shared by its attempts; the
    trainer keeps ``checkpoints/`` and ``result/`` in it. ``batch_size``: examples per optimizer step.
    ``lease_s``: the trainer ends if no message arrives on its standard input for this long; 0 turns it off.
    ``memory_bytes``: memory that the trainer may plan with, None for that of the device. ``memory_failures``:
    earlier attempts for which memory ran out; each halves the memory to plan with. ``is_served``: inference
    engines are to load the adapter.
    """

    job_id: str
    attempt: Positive
    base_model: str
    training_file: str
    validation_file: str | None
    work_dir: str
    seed: Annotated[int, Meta(ge=0, lt=2**31)]
    epochs: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Meta(gt=0)]
    method: Literal["supervised", "dpo"] = "supervised"
    dpo_beta: Annotated[float, Meta(gt=0)] = 0.1
    options: TrainingOptions = TrainingOptions()
    threads: Positive | None = None
    lease_s: Annotated[float, Meta(ge=0)] = 0.0
    memory_bytes: Positive | None = None
    memory_failures: Annotated[int, Meta(ge=0)] = 0
    is_served: bool = False
    correlation_id: str = ""


class TokenSequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Token ids of a prompt and of what an engine generated after it."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


class ScoringSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input of ``python -m training.engine score``: log-probs of the completions, base and adapter."""

    base_model: str
    adapter_dir: str
    sequences: tuple[TokenSequence, ...]
    threads: Positive | None = None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """Output of scoring: natural log-probs of each completion token, a list per sequence."""

    base: tuple[tuple[float, ...], ...]
    adapter: tuple[tuple[float, ...], ...]
