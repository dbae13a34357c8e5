"""``manage.py datasets``: check dataset files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import msgspec
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import Handler, Options, SubcommandsCommand, unknown_name
from training.datasets.command import DatasetCommandError, add_check_arguments, check_file
from training.datasets.formatting import report_text
from training.engine.spec import TrainingOptions
from training.requests.memory_estimates import with_memory


class Command(SubcommandsCommand):
    """Check dataset files."""

    help = "Check dataset files for fine-tuning. The exit status is 1 if a file has faults."
    example_arguments = {
        "check": (
            "train.jsonl",
            "pairs.jsonl --method dpo",
        ),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare check."""
        check = add("check", self._check, "check every line of a dataset file")
        add_check_arguments(check)
        check.add_argument(
            "--model",
            metavar="NAME",
            help="base model in CYLLM_TRAINING_MODELS or model folder, to count tokens and estimate the run",
        )

    def _check(self, options: Options) -> None:
        name = options["model"]
        try:
            folder = _model_folder(name) if name else None
            report = check_file(argparse.Namespace(**options), folder)
        except DatasetCommandError as error:
            raise CommandError(str(error), returncode=error.status) from error
        if folder is not None:
            report = with_memory(report, TrainingOptions(), folder)
        row = msgspec.to_builtins(report)
        self.show_one(row, options, report_text(report))
        if not report.is_valid:
            raise SystemExit(1)


def _model_folder(name: str) -> Path:
    folders = settings.CYLLM.training_models
    if name in folders:
        return folders[name]
    if Path(name).is_dir():
        return Path(name)
    remedy = "Name a base model of CYLLM_TRAINING_MODELS or a model folder."
    raise unknown_name("base model", name, folders, remedy)
