"""The number of processes that ``make test`` starts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deploy.local.settings import ROOT

OF_THE_CALLER = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "PROCESSES", "ARGS")


def _processes(folder: Path, nproc: str, *arguments: str) -> str:
    """Return the number for a program ``nproc`` of this text."""
    program = folder / "nproc"
    program.write_text(f"#!/bin/sh\n{nproc}\n")
    program.chmod(0o755)
    variables = {name: value for name, value in os.environ.items() if name not in OF_THE_CALLER}
    variables["PATH"] = f"{folder}:{variables['PATH']}"
    command = ["make", "--dry-run", "test", *arguments]
    output = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    ).stdout
    return output.split(" -n ")[1].split()[0]


@pytest.mark.parametrize(
    ("nproc", "processes"),
    [("echo 1", "2"), ("echo 2", "2"), ("echo 4", "3"), ("echo 6", "4"), ("echo 64", "4"), ("exit 127", "2")],
)
def test_all_tests_use_as_many_processes_as_the_cores_carry(
    tmp_path: Path, nproc: str, processes: str
) -> None:
    assert _processes(tmp_path, nproc) == processes


def test_a_selection_runs_in_one_process_unless_a_number_is_given(tmp_path: Path) -> None:
    assert _processes(tmp_path, "echo 8", "ARGS=-k a") == "0"
    assert _processes(tmp_path, "echo 8", "ARGS=-k a", "PROCESSES=2") == "2"
