"""Settings of fine-tuning."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode

_CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


def trainable_models(text: str) -> dict[str, Path]:
    """Parse ``name=folder,name=folder``. Raises ValueError."""
    folders: dict[str, Path] = {}
    for entry in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise ValueError("expected name=folder, separated by commas")
        if name in folders:
            raise ValueError(f"the model {name} is named twice")
        folders[name] = Path(folder)
    return folders


def worker_classes(text: str) -> dict[str, int | None]:
    """Parse ``name,name=bytes``; None means that the memory is not checked. Raises ValueError."""
    classes: dict[str, int | None] = {}
    for entry in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, size = entry.partition("=")
        if not _CLASS_NAME.fullmatch(name) or (equals and not (size.isascii() and size.isdigit())):
            raise ValueError("expected name or name=bytes, separated by commas")
        if name in classes:
            raise ValueError(f"the class {name} is named twice")
        classes[name] = int(size) if equals else None
    if not classes:
        raise ValueError("expected at least one class")
    return classes


def _parsed(parse: Callable[[str], object]) -> Callable[[object], object]:
    """Return a validator that parses texts and passes other values on."""
    return lambda value: parse(value) if isinstance(value, str) else value


class TrainingSettings(BaseModel):
    """Settings of fine-tuning, inherited by the settings. Times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training_models: Annotated[dict[str, Path], NoDecode, BeforeValidator(_parsed(trainable_models))] = Field(
        {},
        description="base models that can be fine-tuned, with the folder of each on the training workers: "
        "name=folder, separated by commas",
    )
    training_dir: Path | None = Field(
        None,
        description="folder for checkpoints and temporary data of training workers, shared by all of them; "
        "default: training in CYLLM_STATE_DIR",
    )
    training_lease_s: float = Field(
        30.0, ge=3, description="lease: an attempt not renewed for this long is lost"
    )
    training_max_attempts: int = Field(
        3, ge=1, le=20, description="attempts of a fine-tuning job before it fails"
    )
    training_tenant_jobs: int = Field(
        4, ge=1, description="fine-tuning jobs of one tenant that run at once; more wait in the queue"
    )
    training_open_jobs: int = Field(
        50, ge=1, description="fine-tuning jobs of one tenant that have not ended; more are refused"
    )
    training_worker_classes: Annotated[
        dict[str, int | None], NoDecode, BeforeValidator(_parsed(worker_classes))
    ] = Field(
        {"default": None},
        description="classes of training workers that jobs may choose, each with its memory in bytes if jobs "
        "that can't fit are to be refused: name or name=bytes, separated by commas",
    )
    training_worker_wait_s: float = Field(
        1800.0,
        ge=0,
        description="time that a trained model waits for an inference worker of its base model, which "
        "verifies it; the attempt then counts as failed",
    )
    training_retention_h: float = Field(
        72.0, ge=0, description="hours to keep checkpoints and temporary data after the end of a job"
    )
    training_event_days: int = Field(
        180,
        ge=1,
        description="days to keep the events of a job and its trainers' last lines after its end; the last "
        "event is kept as long as the job",
    )
    training_threads: int | None = Field(
        None, ge=1, description="CPU threads of a trainer; default: half of the cores, but both of two"
    )
    training_command: str = Field(
        "",
        description="command of the trainer, such as torchrun --nproc-per-node 4 -m training.engine run; the "
        "specification's path is added; default: python -m training.engine run",
    )
