"""The check of a training file runs in a process of its own, which ends with its upload."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

from api.gateway.state import dataset_checks
from api.gateway.state.dataset_checks import DatasetChecks
from api.openai.errors.files import InvalidTrainingFile
from tests.gateway.harness.conditions import eventually
from tests.stacks import wait_until
from training.child_process import NICENESS
from training.datasets.report import DatasetReport
from training.requests.file_check import (
    MAX_FAULTS,
    FileCheckError,
    FileCheckTimeoutError,
    faults_text,
    stored_report,
    training_file_check,
    training_file_report,
)

LINE = '{"messages":[{"role":"user","content":"%06d"},{"role":"assistant","content":"b"}]}\n'


def _checks(path: Path) -> list[psutil.Process]:
    """Return the running checks of a file; ended children of earlier tests have no command line."""
    children = psutil.Process().children()
    running = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if str(path) in child.cmdline()]


async def test_a_cancelled_check_ends_its_process(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("".join(LINE % number for number in range(100_000)))
    check = asyncio.create_task(training_file_report(path))
    await eventually(lambda: any(child.nice() == NICENESS for child in _checks(path)))
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    assert _checks(path) == []


async def test_a_check_knows_no_secrets_and_ends_at_its_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYLLM_SECRET_KEY", "canary")
    path = tmp_path / "long.jsonl"
    path.write_text("".join(LINE % number for number in range(400_000)))
    check = asyncio.create_task(training_file_report(path, timeout_s=2.0))
    await eventually(lambda: _checks(path) != [])
    [process] = _checks(path)
    assert "canary" not in process.environ().values()
    with pytest.raises(FileCheckTimeoutError, match="not ended within 2 s; split the file"):
        await check
    assert _checks(path) == []


def test_a_check_dies_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("".join(LINE % number for number in range(400_000)))
    check = "asyncio.run(training_file_report(Path(sys.argv[1])))"
    code = f"import asyncio, sys; from training.requests.file_check import *; {check}"
    parent = psutil.Popen([sys.executable, "-c", code, str(path)])
    wait_until(
        lambda: any("training.datasets" in child.cmdline() for child in parent.children()),
        "the check runs",
    )
    [child] = parent.children()
    parent.kill()
    parent.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the check ends")


async def test_the_first_faults_are_named_and_the_others_counted(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(LINE % 1 + "[]\n" * 20)
    report = await training_file_report(path)
    text = faults_text(report)
    assert text.startswith("line 2: found an array; expected ")
    assert f"line {MAX_FAULTS + 1}: " in text
    assert f"line {MAX_FAULTS + 2}: " not in text
    assert text.endswith(f"There are {20 - MAX_FAULTS} more faults.")


def test_a_valid_file_has_a_report_without_faults(tmp_path: Path) -> None:
    path = tmp_path / "good.jsonl"
    path.write_text(LINE % 1 + LINE % 1)
    report = training_file_check(path)
    assert (report["examples"], report["duplicates"]) == (2, 1)
    assert not {name for name in report if name.startswith("fault")}
    assert asyncio.run(_report(path)) == report


async def _report(path: Path) -> object:
    return stored_report(await training_file_report(path))


async def test_a_check_that_breaks_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(FileCheckError, match="No such file"):
        await training_file_report(tmp_path / "absent")


def test_a_training_file_without_examples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    with pytest.raises(ValueError, match="found an empty file"):
        training_file_check(path)


async def test_a_file_that_takes_too_long_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("".join(LINE % number for number in range(400_000)))
    monkeypatch.setattr(dataset_checks, "training_file_report", partial(training_file_report, timeout_s=0.5))
    with pytest.raises(InvalidTrainingFile) as excinfo:
        await DatasetChecks().report(path, "a tenant")
    assert "split the file into smaller ones" in excinfo.value.explanation


async def test_files_that_take_long_do_not_hold_up_those_of_other_tenants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(LINE % number for number in range(3)))
    report = await training_file_report(path)
    seconds, starts, ends = {"long": 1.0, "longer": 1.2, "short": 0.0}, Counter[str](), list[str]()

    async def slow_report(path: Path) -> DatasetReport:
        starts[path.name] += 1
        await asyncio.sleep(seconds[path.name])
        ends.append(path.name)
        return report

    monkeypatch.setattr(dataset_checks, "training_file_report", slow_report)
    checks = DatasetChecks(first_slice_s=0.2)

    def check(name: str) -> asyncio.Task[object]:
        return asyncio.create_task(checks.report(Path(name), tenant_id=name))

    long = [check("long"), check("longer")]
    await eventually(lambda: len(starts) == 2)
    assert await check("short") == stored_report(report)
    assert ends == ["short"]
    await asyncio.gather(*long)
    assert starts["short"] == 1
    assert starts["long"] + starts["longer"] == 3, "one made room, the other went on"
