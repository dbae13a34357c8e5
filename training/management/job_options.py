"""Arguments of a new fine-tuning job, for commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import Options, command_actor
from inference_worker.registry.worker_sightings import live_workers
from tenants.files.creation import NewFile, file_store
from tenants.files.deletion import file_delete
from tenants.files.models import Purpose
from tenants.files.storage.incoming import FileTooLargeError
from tenants.files.uploads import FileQuotaError
from tenants.models import Tenant
from training.choices import Method
from training.requests.checks.base_model import highest_rank
from training.requests.file_check import FileCheckError
from training.requests.job_request import DEFAULT_PRIORITY, DEFAULT_WORKER_CLASS, JobRequest


def create_arguments(parser: CommandParser) -> None:
    """Declare the arguments of a new job."""
    parser.add_argument("--tenant", metavar="SLUG", required=True)
    parser.add_argument("--model", required=True, help="base model")
    parser.add_argument("--training-file", required=True, metavar="FILE", help="id of a file, or a path")
    parser.add_argument("--validation-file", metavar="FILE", help="id of a file, or a path")
    parser.add_argument("--method", choices=Method.values, default=Method.SUPERVISED.value)
    parser.add_argument("--suffix", default="", help="part of the new model's name")
    parser.add_argument("--epochs", type=int, help="default: auto")
    parser.add_argument("--batch-size", type=int, help="default: auto")
    parser.add_argument("--learning-rate-multiplier", type=float, help="default: auto")
    parser.add_argument("--seed", type=int, help="default: random")
    parser.add_argument(
        "--priority",
        type=int,
        choices=range(10),
        default=DEFAULT_PRIORITY,
        help="9 runs first; default: %(default)s",
    )
    parser.add_argument("--worker-class", default=DEFAULT_WORKER_CLASS, help="class of training workers")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of the trainer, such as rank=16 or 'target_modules=[\"all-linear\"]'; can be repeated",
    )


@contextmanager
def job_request(tenant: Tenant, options: Options) -> Iterator[JobRequest]:
    """Yield the request of a new job. Files on this machine are stored first, and deleted on a CommandError.

    Raises CommandError.
    """
    numbers = {
        "n_epochs": options["epochs"],
        "batch_size": options["batch_size"],
        "learning_rate_multiplier": options["learning_rate_multiplier"],
    }
    if any(number is not None and not 0 < number < float("inf") for number in numbers.values()):
        raise CommandError("--epochs, --batch-size and --learning-rate-multiplier must be more than 0")
    values, validation = _options(options), options["validation_file"]
    stored_ids: list[str] = []
    try:
        yield JobRequest(
            base_model=options["model"],
            training_file=_file_id(tenant, options["training_file"], stored_ids),
            validation_file=_file_id(tenant, validation, stored_ids) if validation else None,
            method=options["method"],
            suffix=options["suffix"],
            hyperparameters={name: "auto" if number is None else number for name, number in numbers.items()},
            options=values,
            seed=options["seed"],
            priority=options["priority"],
            worker_class=options["worker_class"],
        )
    except CommandError:
        for file_id in stored_ids:
            file_delete(file_id=file_id, actor=command_actor(), tenant_id=tenant.id)
        raise


def _file_id(tenant: Tenant, text: str, stored_ids: list[str]) -> str:
    """Return the id of a file. A file on this machine is stored first, and its id added to ``stored_ids``."""
    path = Path(text)
    if not _is_file(path):
        return text
    new = NewFile(filename=path.name, purpose=Purpose.FINE_TUNE)
    try:
        with path.open("rb") as content:
            file = file_store(tenant_id=tenant.id, content=content, new=new, actor=command_actor())
    except (OSError, ValueError, FileQuotaError, FileTooLargeError, FileCheckError) as error:
        raise CommandError(f"{path}: {error}") from error
    stored_ids.append(file.id)
    return file.id


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _options(options: Options) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in options["option"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"--option {text}: expected NAME=VALUE")
        values[name] = _value(value)
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def engine_rank(model: str) -> int | None:
    """Return the highest rank that ready workers load, None if there are none or they can't be asked."""
    try:
        return highest_rank(model, live_workers(settings.CYLLM.redis_url))
    except redis.RedisError:
        return None


def argument_name(param: str | None) -> str:
    """Return the command's argument for a parameter of the API, ready to precede a message."""
    if param is None:
        return ""
    name = param.removeprefix("hyperparameters.").removeprefix("n_").replace("_", "-")
    if param == "cyllm" or param.startswith("cyllm."):
        name = f"option {param.removeprefix('cyllm').removeprefix('.')}".strip()
    return f"--{name}: "
