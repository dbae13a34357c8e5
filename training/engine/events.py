"""Messages between the trainer and the process that started it: one JSON object per line.

The trainer writes events to its standard output and reads control messages from its standard input.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

# As large as the columns that store them.
Count: TypeAlias = Annotated[int, Meta(ge=0, lt=2**31)]
LargeCount: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
M = TypeVar("M")


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=False):
    """Base of all messages."""


# ---- trainer -> supervisor -----------------------------------------------------------------------


class Prepared(_Message, frozen=True, kw_only=True, tag="prepared"):
    """The data is tokenised. ``start_step``: optimizer steps restored from a checkpoint, else 0.

    ``sample_lines``: the lines of the samples as ``training.datasets.tokens.sample_lines`` packs them.
    """

    examples: Count
    tokens: LargeCount
    trained_tokens: LargeCount
    truncated: Count
    dropped: Count
    total_steps: Count
    start_step: Count
    sample_lines: bytes = b""


class Choice(_Message, frozen=True, kw_only=True, tag="choice"):
    """A choice of the trainer, such as ``precision`` or ``gradient_checkpointing``, and its reason.

    ``figures``: what the choice was computed from, for programs.
    """

    subject: str
    value: str
    reason: str
    figures: dict[str, LargeCount] = {}


class Progress(_Message, frozen=True, kw_only=True, tag="progress"):
    """State after an optimizer step. Rates are of this attempt; ``eta_s`` is the time left.

    ``reward_accuracy``, ``reward_margin``: with DPO, the share of pairs whose chosen answer has the higher
    reward, and the mean difference of their rewards.
    """

    step: Count
    total_steps: Count
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    token_accuracy: float | None
    trained_tokens: LargeCount
    tokens_per_s: float
    samples_per_s: float
    elapsed_s: float
    eta_s: float
    memory_bytes: LargeCount
    gpu_utilization: float | None = None
    gpu_memory_bytes: int | None = None
    reward_accuracy: float | None = None
    reward_margin: float | None = None


class Evaluation(_Message, frozen=True, kw_only=True, tag="evaluation"):
    """Loss on the validation file after ``step`` optimizer steps; step 0 is the base model.

    With DPO, perplexity and token accuracy are those of the chosen answers.
    """

    step: Count
    loss: float
    perplexity: float
    token_accuracy: float
    is_best: bool
    reward_accuracy: float | None = None
    reward_margin: float | None = None


class CheckpointSaved(_Message, frozen=True, kw_only=True, tag="checkpoint"):
    """A complete, published checkpoint. ``folder``: its name in ``checkpoints/``."""

    step: Count
    folder: str
    train_loss: float | None
    train_token_accuracy: float | None
    valid_loss: float | None
    valid_token_accuracy: float | None
    is_best: bool


class Warned(_Message, frozen=True, kw_only=True, tag="warning"):
    """Something that did not stop the run, such as a damaged checkpoint that was skipped."""

    code: str
    message: str


class Stopped(_Message, frozen=True, kw_only=True, tag="stopped"):
    """The trainer ended at a step boundary because a control message asked for it."""

    step: Count
    checkpoint_step: Count | None


class Failed(_Message, frozen=True, kw_only=True, tag="failed"):
    """The trainer can't continue. ``is_transient``: another attempt may succeed."""

    code: str
    message: str
    next_step: str
    step: Count
    checkpoint_step: Count | None
    is_transient: bool


class Finished(_Message, frozen=True, kw_only=True, tag="finished"):
    """The result is in ``result_dir``: an adapter as saved by peft, or a whole model.

    Evaluations are on the validation file, or on the training file if there is none (``evaluated_on``).
    ``probe_prompts``: token ids of prompts for comparing the result with an engine.
    """

    step: Count
    reason: Literal["completed", "early_stopping"]
    result_dir: str
    trained_tokens: LargeCount
    evaluated_on: Literal["validation", "training"]
    base: Evaluation
    result: Evaluation
    probe_prompts: tuple[tuple[int, ...], ...]


TrainerEvent: TypeAlias = (
    Prepared | Choice | Progress | Evaluation | CheckpointSaved | Warned | Stopped | Failed | Finished
)


# ---- supervisor -> trainer -----------------------------------------------------------------------


class Renew(_Message, frozen=True, kw_only=True, tag="renew"):
    """The lease is renewed. Without one for ``lease_s`` the trainer ends at once."""


class Stop(_Message, frozen=True, kw_only=True, tag="stop"):
    """End at the next step boundary, after saving a checkpoint if ``is_saved``."""

    is_saved: bool


ControlMessage: TypeAlias = Renew | Stop


_EVENTS: msgspec.json.Decoder[TrainerEvent] = msgspec.json.Decoder(TrainerEvent)
_CONTROLS: msgspec.json.Decoder[ControlMessage] = msgspec.json.Decoder(ControlMessage)


def encode(message: TrainerEvent | ControlMessage) -> bytes:
    """Return a message as one line, with its line feed."""
    return msgspec.json.encode(message) + b"\n"


def decode_event(line: bytes) -> TrainerEvent:
    """Return the event in a line. Raises msgspec.DecodeError (ValidationError included)."""
    return _decode(_EVENTS, line)


def decode_control(line: bytes) -> ControlMessage:
    """Return the control message in a line. Raises msgspec.DecodeError (ValidationError included)."""
    return _decode(_CONTROLS, line)


def _decode(decoder: msgspec.json.Decoder[M], line: bytes) -> M:
    if b"\\u0000" in line:  # no text column takes it
        raise msgspec.DecodeError("the line contains a NUL character")
    try:
        return decoder.decode(line)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(type(error).__name__) from None
