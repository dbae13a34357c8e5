"""Arguments and work of the dataset commands, shared by ``python -m training.datasets`` and ``manage.py``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.datasets.report import DatasetReport, RunFigures
from training.datasets.structure import DEFAULT_MAX_FAULTS, check_structure

_NEEDS_MODEL = ("max_length", "epochs", "batch_size", "tokens_per_s")
NOT_CHECKED, UNUSABLE_MODEL = 2, 3  # exit statuses


class DatasetCommandError(Exception):
    """The check could not be made; the text gives the reason and the remedy, ``status`` the exit status."""

    def __init__(self, message: str, status: int = NOT_CHECKED) -> None:
        super().__init__(message)
        self.status = status


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``check`` other than those of the model."""
    parser.add_argument("file", type=Path, help="JSON Lines file, or a JSON array")
    parser.add_argument("--method", choices=("supervised", "dpo"), help="training method it is meant for")
    parser.add_argument(
        "--max-faults",
        type=_count,
        default=DEFAULT_MAX_FAULTS,
        metavar="N",
        help="faults to print; default: %(default)s",
    )
    parser.add_argument(
        "--max-length", type=_count, metavar="TOKENS", help="tokens per example, with a model"
    )
    default = "default: chosen from the number of examples, as for a job"
    parser.add_argument("--epochs", type=_count, metavar="N", help=default)
    parser.add_argument("--batch-size", type=_count, metavar="N", help=default)
    parser.add_argument(
        "--tokens-per-s", type=_speed, metavar="N", help="speed of training, to estimate its time"
    )


def check_arguments(run: RunFigures, *, method: str, max_length: int | None) -> list[str]:
    """Return the arguments of ``check`` for a run."""
    options = {
        "--method": method,
        "--epochs": run.epochs,
        "--batch-size": run.batch_size,
        "--max-length": max_length,
        "--tokens-per-s": run.tokens_per_s,
    }
    return [text for name, value in options.items() if value is not None for text in (name, str(value))]


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _speed(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def check_file(options: argparse.Namespace, model_folder: Path | None) -> DatasetReport:
    """Check the file, with the tokenizer of a model if there is one. Raises DatasetCommandError."""
    try:
        if model_folder is None:
            _refuse_token_options(options)
            return check_structure(options.file, max_faults=options.max_faults, method=options.method)
        return _check_with_model(options, model_folder)
    except OSError as error:
        raise DatasetCommandError(f"{options.file} can't be read: {error.strerror or error}") from error


def _refuse_token_options(options: argparse.Namespace) -> None:
    names = [name for name in _NEEDS_MODEL if getattr(options, name) is not None]
    if names:
        arguments = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise DatasetCommandError(f"Without --model, no tokens are counted. Add it, or omit {arguments}.")


def file_previews(path: Path, model_folder: Path, count: int) -> list[Any]:
    """Return previews of the first examples, one per sample. Raises DatasetCommandError."""
    try:
        from training.datasets.previews import sample_texts
        from training.datasets.tokens.tokenizer import ModelError, load_tokenizer
    except ModuleNotFoundError as error:
        raise DatasetCommandError(f"{error.name} is not installed") from error
    try:
        return sample_texts(path, load_tokenizer(model_folder), count)
    except (ModelError, OSError) as error:
        raise DatasetCommandError(str(error)) from error


def _check_with_model(options: argparse.Namespace, model_folder: Path) -> DatasetReport:
    try:
        # Imported late: the structural check runs where these are not installed.
        from training.datasets.tokens.preparation import check_dataset
        from training.datasets.tokens.tokenizer import ModelError, UnusableModelError, load_tokenizer
    except ModuleNotFoundError as error:
        raise DatasetCommandError(
            f"{error.name} is not installed: check without a model, or run this on a training worker"
        ) from error
    run = RunFigures(epochs=options.epochs, batch_size=options.batch_size, tokens_per_s=options.tokens_per_s)
    try:
        tokenizer = load_tokenizer(model_folder)
    except ModelError as error:
        raise DatasetCommandError(str(error)) from error
    try:
        return check_dataset(
            options.file,
            tokenizer,
            method=options.method,
            max_length=options.max_length,
            run=run,
            max_faults=options.max_faults,
        )
    except UnusableModelError as error:
        status = UNUSABLE_MODEL if tokenizer.is_exact else NOT_CHECKED  # the trainer's tokenizer may differ
        raise DatasetCommandError(str(error), status) from error
