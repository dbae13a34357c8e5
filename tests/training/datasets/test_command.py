"""The commands that check a dataset file."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from tests.training.datasets.conftest import Write
from training.datasets.__main__ import main
from training.requests.hyperparameters import resolve

GOOD = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def test_a_valid_file_exits_with_zero(write_lines: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(write_lines(GOOD, GOOD))]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0] == "Format: chat (method supervised)"
    assert "Duplicates: 1 (lines: 2 repeats 1)" in output
    assert output[-1] == "Valid."


def test_a_file_with_faults_exits_with_one(write_lines: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(GOOD, *[{"messages": 1}] * 5)
    assert main(["check", str(path), "--max-faults", "2"]) == 1
    output = capsys.readouterr().out.splitlines()
    assert output[0] == "line 2, messages: found the number 1; expected an array of messages"
    assert output[2] == "… and 3 faults more"
    assert output[-1] == "Not valid: 5 faults."
    assert main(["check", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["fault_count"] == 5


def test_a_file_that_cannot_be_read_exits_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path / "none.jsonl")]) == 2
    assert "can't be read: No such file" in capsys.readouterr().err
    assert main(["check", __file__, "--model", str(tmp_path)]) == 2
    assert "tokenizer.json is missing" in capsys.readouterr().err


def test_with_a_model_the_report_has_tokens(
    write_lines: Write, smollm2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", str(write_lines(GOOD)), "--model", str(smollm2), "--tokens-per-s", "10"]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert "Samples: 1, 33 tokens, 2 of them trained" in output
    assert "Steps: 10 (1 per epoch), 330 tokens" in output
    assert "Time: about 0.6 min" in output
    assert main([*arguments, "--epochs", "3", "--batch-size", "8"]) == 0
    assert "Steps: 3 (1 per epoch), 99 tokens" in capsys.readouterr().out.splitlines()
    assert main([*arguments, "--max-length", "20"]) == 1
    assert capsys.readouterr().out.endswith("Not valid: no example is left to train on.\n")


@pytest.mark.parametrize("option", ["--max-length", "--epochs", "--batch-size", "--tokens-per-s"])
def test_without_a_model_figures_of_a_run_are_refused(
    option: str, write_lines: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_lines(GOOD)), option, "10"]) == 2
    assert capsys.readouterr().err.endswith(f"Add it, or omit {option}.\n")


@pytest.mark.parametrize("examples", [1, 4, 20, 100])
def test_the_estimate_is_that_of_a_job_with_automatic_hyperparameters(
    write_lines: Write, smollm2: Path, capsys: pytest.CaptureFixture[str], examples: int
) -> None:
    assert main(["check", str(write_lines(*[GOOD] * examples)), "--model", str(smollm2), "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)["estimate"]
    run = resolve(method="supervised", hyperparameters={}, options={}, examples=examples, threads=None)
    assert estimate["steps_per_epoch"] == -(-examples // run.batch_size)
    assert estimate["total_steps"] == estimate["steps_per_epoch"] * run.n_epochs


@pytest.mark.parametrize("option", ["--max-faults", "--batch-size", "--epochs", "--tokens-per-s"])
def test_numbers_must_be_positive(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as excinfo:
        main(["check", __file__, option, "0"])
    assert excinfo.value.code == 2
    assert "must be" in capsys.readouterr().err


def test_manage_py_checks_with_a_base_model_by_name(
    write_lines: Write, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = settings.CYLLM.model_copy(update={"training_models": {"smol": smollm2}})
    monkeypatch.setattr(settings, "CYLLM", limits)
    output = StringIO()
    call_command("datasets", "check", str(write_lines(GOOD)), "--model", "smol", "--json", stdout=output)
    assert json.loads(output.getvalue())["tokens"]["trained_tokens"] == 2
    with pytest.raises(CommandError, match=r"No such base model: smool\. Did you mean smol\?"):
        call_command("datasets", "check", str(write_lines(GOOD)), "--model", "smool")
    with pytest.raises(SystemExit) as excinfo:
        call_command("datasets", "check", str(write_lines({"messages": 1})), stdout=output)
    assert excinfo.value.code == 1
    assert "Not valid: 1 fault." in output.getvalue()
