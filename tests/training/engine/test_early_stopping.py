"""Early stopping: by validation loss, with the best weights as the result, across restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.engine.runs import adapter_bytes, make_spec, run_here, write_chats
from training.engine import events
from training.engine.checkpoints.state import RunState, Score
from training.engine.control import ManualControl
from training.engine.events import Stop
from training.engine.loop.early_stopping import is_exhausted, record_score
from training.engine.spec import EarlyStopping, TrainingSpec


def _overfitting(folder: Path, model: Path) -> TrainingSpec:
    """Return a run whose validation data disagrees with its training data: its loss soon rises."""
    folder.mkdir()
    write_chats(folder / "training.jsonl", 8, answer="zebra ")
    spec = make_spec(
        folder,
        model,
        validation=3,
        epochs=10,
        learning_rate=3e-2,
        options={
            "eval_steps": 2,
            "early_stopping": {"patience": 2},
            "checkpoint_steps": 100,
            "target_modules": ["all-linear"],
        },
    )
    write_chats(folder / "validation.jsonl", 3, answer="piano ")
    return spec


@pytest.mark.criterion("2.10")
def test_training_stops_and_the_best_weights_are_the_result(tiny_model: Path, tmp_path: Path) -> None:
    outcome = run_here(_overfitting(tmp_path / "run", tiny_model))

    last_event = outcome.one(events.Finished)
    scores = [event for event in outcome.of(events.Evaluation) if event.step]
    best = min(scores, key=lambda event: event.loss)
    work = tmp_path / "run" / "work"
    assert last_event.reason == "early_stopping"
    assert last_event.step < outcome.one(events.Prepared).total_steps
    assert last_event.step == best.step + 4  # two evaluations without improvement, every second step
    assert last_event.result.loss == best.loss
    assert adapter_bytes(work / "result") == adapter_bytes(work / "checkpoints" / f"step-{best.step:08d}")
    assert adapter_bytes(work / "result") != adapter_bytes(
        work / "checkpoints" / f"step-{last_event.step:08d}"
    )


@pytest.mark.criterion("2.10", "2.4")
def test_its_counter_survives_a_restart_after_each_evaluation(tiny_model: Path, tmp_path: Path) -> None:
    whole = run_here(_overfitting(tmp_path / "whole", tiny_model))
    spec = _overfitting(tmp_path / "parts", tiny_model)

    parts: list[events.TrainerEvent] = []
    for _ in range(30):
        outcome = _run_to_the_next_evaluation(spec)
        parts += outcome
        if any(isinstance(event, events.Finished) for event in outcome):
            break

    last_event = [event for event in parts if isinstance(event, events.Finished)]
    scores = [event for event in parts if isinstance(event, events.Evaluation)]
    expected = whole.one(events.Finished)
    assert [(event.step, event.reason, event.result) for event in last_event] == [
        (expected.step, "early_stopping", expected.result)
    ]
    assert scores == whole.of(events.Evaluation)
    assert sum(isinstance(event, events.Prepared) for event in parts) >= 3


def _run_to_the_next_evaluation(spec: TrainingSpec) -> list[events.TrainerEvent]:
    control = ManualControl()

    def stop(event: events.TrainerEvent) -> None:
        if isinstance(event, events.Evaluation) and event.step:
            control.request_stop(Stop(is_saved=True))

    return run_here(spec, stop, control).events


def _counters(losses: list[float], rule: EarlyStopping) -> list[int]:
    state, counters = RunState(fingerprint=""), []
    for step, loss in enumerate(losses, 1):
        record_score(state, Score(step, loss, 0.0), rule)
        counters.append(state.unimproved)
    return counters


@pytest.mark.criterion("2.10")
def test_improvement_counts_from_the_threshold_on_and_adds_up() -> None:
    assert _counters([3.0, 2.95, 2.89, 2.88], EarlyStopping(patience=2, threshold=0.1)) == [0, 1, 0, 1]
    assert _counters([3.0, 3.0, 2.999], EarlyStopping(patience=2)) == [0, 1, 0]


@pytest.mark.criterion("2.10")
def test_the_best_is_the_lowest_loss_even_below_the_threshold() -> None:
    state, rule = RunState(fingerprint=""), EarlyStopping(patience=2, threshold=0.1)

    best = [record_score(state, Score(step, loss, 0.0), rule) for step, loss in ((1, 3.0), (2, 2.95))]

    assert best == [True, True]
    assert state.best is not None
    assert state.best.step == 2
    assert not is_exhausted(state, rule)
    record_score(state, Score(3, 2.95, 0.0), rule)
    assert is_exhausted(state, rule)
    assert not is_exhausted(state, None)
