"""A run that is killed and resumed equals the uninterrupted one bit for bit."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.training.engine.runs import AttemptServer, Outcome, adapter_bytes, make_spec, run_here
from training.engine import events
from training.engine.checkpoints.manifest import seal_folder, verify_checkpoint
from training.engine.control import ManualControl
from training.engine.spec import TrainingSpec

KILLS = 20
OPTIONS = {
    "dropout": 0.1,
    "checkpoint_steps": 2,
    "eval_steps": 2,
    "scheduler": "cosine",
    "warmup_ratio": 0.2,
    "early_stopping": {"patience": 3, "threshold": 0.01},
}


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run."""

    outcome: Outcome
    result: Path
    checkpoints: Path


def resumable_spec(folder: Path, model: Path) -> TrainingSpec:
    """Return a run with everything that has state: dropout, scheduler, evaluations, early stopping."""
    return make_spec(folder, model, validation=4, epochs=4, options=OPTIONS)


@pytest.fixture(scope="module")
def reference(
    attempts: AttemptServer, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    end = attempts.run(resumable_spec(folder, tiny_model))
    assert end.status == 0, end
    return Reference(end.outcome, folder / "work" / "result", folder / "work" / "checkpoints")


def _figures(outcome: Outcome) -> dict[int, tuple[float, float, float, int]]:
    return {
        event.step: (event.loss, event.learning_rate, event.grad_norm, event.trained_tokens)
        for event in outcome.of(events.Progress)
    }


def _scores(outcome: Outcome) -> dict[int, tuple[float, float, bool]]:
    return {
        event.step: (event.loss, event.token_accuracy, event.is_best)
        for event in outcome.of(events.Evaluation)
    }


def _finish(
    attempts: AttemptServer, spec: TrainingSpec, next_fault: Callable[[], dict[str, int]]
) -> tuple[Outcome, int]:
    """Start attempts until one finishes; return all their events and how many were killed."""
    everything: list[events.TrainerEvent] = []
    for kills in range(60):
        end = attempts.run(spec, **next_fault())
        everything += end.outcome.events
        if end.status == 0:
            return Outcome(everything), kills
        assert end.status == -signal.SIGKILL, end
    raise AssertionError("no attempt finished")


def _assert_equal(outcome: Outcome, folder: Path, reference: Reference) -> None:
    assert _figures(outcome) == _figures(reference.outcome)
    assert _scores(outcome) == _scores(reference.outcome)
    assert adapter_bytes(folder / "work" / "result") == adapter_bytes(reference.result)
    last = outcome.of(events.Finished)[-1]
    expected = reference.outcome.one(events.Finished)
    assert (last.step, last.reason, last.result) == (expected.step, expected.reason, expected.result)


@pytest.mark.case("training.1", "training.4", "training.5")
@pytest.mark.criterion("2.4")
def test_a_run_killed_at_random_steps_has_the_same_figures_and_bits(
    attempts: AttemptServer, reference: Reference, tiny_model: Path, tmp_path: Path
) -> None:
    numbers = random.Random(20)
    total_kills = 0

    def fault() -> dict[str, int]:
        return {"kill_at_event": numbers.randint(6, 15)} if next(kills_left, None) is not None else {}

    for run in itertools.count():
        folder = tmp_path / str(run)
        folder.mkdir()
        kills_left = iter(range(KILLS - total_kills))
        outcome, kills = _finish(attempts, resumable_spec(folder, tiny_model), fault)
        _assert_equal(outcome, folder, reference)
        assert kills > 0
        total_kills += kills
        if total_kills == KILLS:
            break


@pytest.mark.case("training.1", "training.3")
@pytest.mark.criterion("2.4")
def test_a_run_killed_at_each_write_of_its_checkpoints_loses_none(
    attempts: AttemptServer, reference: Reference, tiny_model: Path, tmp_path: Path
) -> None:
    spec = resumable_spec(tmp_path, tiny_model)
    attempts.run(spec, kill_at_event=10)  # the token caches are written and a checkpoint is there
    checkpoints = tmp_path / "work" / "checkpoints"
    numbers = itertools.count(1)

    def fault() -> dict[str, int]:
        names = sorted(path.name for path in checkpoints.glob("step-*"))
        assert names
        for name in names:
            verify_checkpoint(checkpoints / name)
        number = next(numbers)
        return {"kill_at_write": 3 * number} if number < 10 else {}

    _, kills = _finish(attempts, spec, fault)

    assert kills >= 7
    assert adapter_bytes(tmp_path / "work" / "result") == adapter_bytes(reference.result)
    assert not list(checkpoints.glob(".*"))


def _resume_copy(
    attempts: AttemptServer, model: Path, folder: Path, damage: Callable[[Path], None]
) -> tuple[Outcome, Path]:
    """Run to step 4, damage the newest checkpoint, and resume."""
    spec = resumable_spec(folder, model)
    assert attempts.run(spec, kill_at_event=14).status == -signal.SIGKILL
    newest = max((folder / "work" / "checkpoints").glob("step-*"))
    damage(newest)
    return attempts.run(spec).outcome, newest


def _truncate(checkpoint: Path) -> None:
    path = checkpoint / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(checkpoint: Path) -> None:
    path = checkpoint / "trainer" / "optimizer.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _remove_the_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def _remove_the_state(checkpoint: Path) -> None:
    """Leave a folder as a tool would that knows of weights only: the manifest agrees with it."""
    shutil.rmtree(checkpoint / "trainer")
    (checkpoint / "manifest.json").unlink()
    seal_folder(checkpoint)


@pytest.mark.case("training.1", "training.2")
@pytest.mark.criterion("2.4")
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncate, "adapter_model.safetensors has"),
        (_flip_a_bit, "checksum"),
        (_remove_the_manifest, "manifest is missing"),
        (_remove_the_state, "no trainer state"),
    ],
)
def test_a_damaged_newest_checkpoint_is_skipped_and_named(
    attempts: AttemptServer,
    reference: Reference,
    tiny_model: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    outcome, newest = _resume_copy(attempts, tiny_model, tmp_path, damage)

    warning = outcome.one(events.Warned)
    assert warning.code == "checkpoint_skipped"
    assert reason in warning.message
    assert f"step {int(newest.name[5:])} " in warning.message
    assert 0 < outcome.one(events.Prepared).start_step < int(newest.name[5:])
    assert adapter_bytes(tmp_path / "work" / "result") == adapter_bytes(reference.result)


@pytest.mark.case("training.6")
def test_a_checkpoint_is_data_that_no_library_has_to_execute(reference: Reference) -> None:
    files = [path for path in reference.checkpoints.rglob("*") if path.is_file()]

    assert len(files) >= 6
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert path.suffix == ".safetensors"
            (length,) = struct.unpack("<Q", path.read_bytes()[:8])
            json.loads(path.read_bytes()[8 : 8 + length])


@pytest.mark.case("training.3")
def test_the_newest_checkpoints_and_the_best_are_kept(reference: Reference) -> None:
    saved_steps = [event.step for event in reference.outcome.of(events.CheckpointSaved)]
    best = [event.step for event in reference.outcome.of(events.Evaluation) if event.is_best][-1]

    kept_steps = sorted(int(path.name[5:]) for path in reference.checkpoints.glob("step-*"))

    assert len(saved_steps) > len(kept_steps)
    assert kept_steps == sorted({*saved_steps[-2:], best})


@pytest.mark.criterion("2.4")
def test_a_checkpoint_of_other_settings_is_not_resumed(
    attempts: AttemptServer, tiny_model: Path, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path, tiny_model, epochs=1, options={"checkpoint_steps": 1})
    attempts.run(spec)

    outcome = attempts.run(msgspec.structs.replace(spec, learning_rate=1e-3, attempt=2)).outcome

    assert outcome.one(events.Prepared).start_step == 0
    assert {event.code for event in outcome.of(events.Warned)} == {"checkpoint_skipped"}
    assert outcome.of(events.Finished)


@pytest.mark.criterion("2.4")
def test_a_resumed_run_keeps_the_number_of_threads(
    attempts: AttemptServer, tiny_model: Path, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path, tiny_model, epochs=1, options={"checkpoint_steps": 1})
    attempts.run(spec, kill_at_event=10)

    outcome = attempts.run(msgspec.structs.replace(spec, threads=2)).outcome

    assert outcome.one(events.Prepared).start_step > 0
    assert outcome.choice("threads").value == "1"


@pytest.mark.criterion("2.4")
def test_a_run_resumed_between_two_reports_reports_the_same(tiny_model: Path, tmp_path: Path) -> None:
    options = {"logging_steps": 4, "checkpoint_steps": 2}
    control = ManualControl()

    def stop(event: events.TrainerEvent) -> None:
        if isinstance(event, events.CheckpointSaved):
            control.request_stop(events.Stop(is_saved=True))

    def reports(outcome: Outcome) -> list[tuple[int, float, float | None]]:
        return [(event.step, event.loss, event.token_accuracy) for event in outcome.of(events.Progress)]

    expected = run_here(make_spec(tmp_path / "whole", tiny_model, options=options))
    spec = make_spec(tmp_path / "resumed", tiny_model, options=options)
    assert run_here(spec, stop, control).one(events.Stopped).step == 3
    assert reports(run_here(spec)) == reports(expected)
    assert [step for step, _, _ in reports(expected)] == [4, 6]
