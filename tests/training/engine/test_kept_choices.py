"""A run goes on with the choices of its first attempt on a host that would choose others, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.training.engine.runs import Outcome, adapter_bytes, make_spec, run_here
from training.engine import events, setup
from training.engine.attempt import KEPT
from training.engine.checkpoints.fingerprint import fingerprint
from training.engine.checkpoints.manifest import STATE, seal_folder
from training.engine.checkpoints.plan import PLAN
from training.engine.checkpoints.state import RunState, decode_state
from training.engine.control import ManualControl
from training.engine.events import Progress, Stop, TrainerEvent
from training.engine.hardware.device import Device
from training.engine.loop import lanes
from training.engine.models import matrix_products
from training.engine.objectives import batching
from training.engine.spec import TrainingOptions, TrainingSpec

pytestmark = [pytest.mark.case("training.5"), pytest.mark.criterion("2.4")]
MEMORY = 8 << 30
PLAIN = Device("cpu", "CPU", MEMORY, has_fast_bfloat16=False)
AMX = Device("cpu", "CPU", MEMORY, has_fast_bfloat16=True)
GPU = Device("cuda", "H200", MEMORY, has_fast_bfloat16=True)

Host = Callable[[pytest.MonkeyPatch], None]


def _device(device: Device) -> Host:
    return lambda patch: patch.setattr(setup, "local_device", lambda: device)


def _packs(obstacle: str | None) -> Host:
    return lambda patch: patch.setattr(batching, "packing_obstacle", lambda *_: obstacle)


def _products(*, is_fast: bool, is_possible: bool = True) -> Host:
    def change(patch: pytest.MonkeyPatch) -> None:
        for name, value in (("has_fast_onednn", is_fast), ("has_onednn", is_possible)):
            patch.setattr(batching, name, lambda value=value: value)

    return change


def _both(*hosts: Host) -> Host:
    def change(patch: pytest.MonkeyPatch) -> None:
        for host in hosts:
            host(patch)

    return change


CAPABLE = _both(_device(AMX), _packs(None), _products(is_fast=True))


@pytest.fixture(scope="module")
def half_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that a processor with bfloat16 trains in bfloat16."""
    folder = tmp_path_factory.mktemp("half") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    return folder


def _spec(folder: Path, model: Path) -> TrainingSpec:
    return make_spec(folder, model, epochs=1)


def _state(spec: TrainingSpec) -> RunState:
    newest = sorted((Path(spec.work_dir) / "checkpoints").iterdir())[-1]
    return decode_state((newest / STATE).read_bytes())


def _choices(state: RunState) -> tuple[object, ...]:
    return state.precision, state.is_packed, state.uses_onednn, state.device, state.lanes


def _run_on(host: Host, spec: TrainingSpec, *, stops_at: int | None = None) -> Outcome:
    control = ManualControl()

    def react(event: TrainerEvent) -> None:
        if isinstance(event, Progress) and event.step == stops_at:
            control.request_stop(Stop(is_saved=True))

    with pytest.MonkeyPatch.context() as patch:
        host(patch)
        return run_here(spec, react, control)


@pytest.mark.parametrize(
    ("first", "second", "choice"),
    [
        (
            _both(_device(PLAIN), _products(is_fast=False)),
            _both(_device(AMX), _products(is_fast=True)),
            "precision",
        ),
        (_packs("it is old"), _packs(None), "packing"),
        (_products(is_fast=True), _products(is_fast=False), None),
    ],
    ids=["precision", "packing", "oneDNN"],
)
def test_the_choices_of_the_first_attempt_are_kept_to_the_bit(
    first: Host, second: Host, choice: str | None, half_model: Path, tmp_path: Path
) -> None:
    whole_run, broken_run = (_spec(tmp_path / name, half_model) for name in ("whole", "broken"))
    assert _run_on(first, whole_run).of(events.Finished)
    assert _run_on(first, broken_run, stops_at=1).of(events.Stopped)
    before = _state(broken_run)

    second_run = _run_on(second, broken_run)

    assert second_run.one(events.Prepared).start_step == 2
    assert choice is None or second_run.choice(choice).reason == KEPT
    assert _choices(_state(broken_run)) == _choices(before)
    assert matrix_products._LIBRARY.uses_onednn is before.uses_onednn
    results = [adapter_bytes(Path(spec.work_dir) / "result") for spec in (whole_run, broken_run)]
    assert results[0] == results[1]


@pytest.fixture(scope="module")
def open_run_folder(half_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in bfloat16, in packs and with oneDNN, that stopped after its second step."""
    folder = tmp_path_factory.mktemp("begun")
    assert _run_on(CAPABLE, _spec(folder, half_model), stops_at=1).of(events.Stopped)
    return folder


@pytest.fixture
def open_run(open_run_folder: Path, half_model: Path, tmp_path: Path) -> TrainingSpec:
    """A copy of this run."""
    shutil.copytree(open_run_folder, tmp_path, dirs_exist_ok=True)
    return _spec(tmp_path, half_model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_device(PLAIN), "it began in bfloat16, which"),
        (_packs("it is old"), "not possible here: it is old"),
        (_products(is_fast=False, is_possible=False), "products were those of oneDNN"),
        (_device(GPU), "and this worker has H200"),
    ],
    ids=["precision", "packing", "oneDNN", "device"],
)
def test_a_host_that_can_not_keep_a_choice_is_refused(
    change: Host, reason: str, open_run: TrainingSpec
) -> None:
    failure = _run_on(_both(CAPABLE, change), open_run).one(events.Failed)

    assert failure.code == "worker_unsuitable"
    assert reason in failure.message
    assert (failure.is_transient, failure.checkpoint_step) == (True, 2)
    assert "equal processors" in failure.next_step


def test_after_a_refusal_the_run_goes_on_where_it_began(open_run: TrainingSpec) -> None:
    assert _run_on(_device(PLAIN), open_run).of(events.Failed)

    assert _run_on(CAPABLE, open_run).one(events.Finished).step == 3


def test_a_run_without_a_checkpoint_begins_anew_with_what_its_host_can_do(open_run: TrainingSpec) -> None:
    shutil.rmtree(Path(open_run.work_dir) / "checkpoints")
    plan = Path(open_run.work_dir) / PLAN
    before = decode_state(plan.read_bytes())

    assert _run_on(_both(_device(PLAIN), _products(is_fast=False)), open_run).of(events.Finished)

    after = decode_state(plan.read_bytes())
    assert (before.precision, before.uses_onednn) == ("bfloat16", True)
    assert (after.precision, after.uses_onednn) == ("float32", True), "oneDNN is there, if not as fast"


def test_another_processor_is_named_as_its_rounding_differs(tiny_model: Path, tmp_path: Path) -> None:
    def other(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(setup, "hardware_name", lambda _: "another processor")

    spec = _spec(tmp_path, tiny_model)
    same = _run_on(lambda _: None, spec, stops_at=1)
    second_run = _run_on(other, spec)

    assert not same.of(events.Warned)
    warning = second_run.one(events.Warned)
    assert warning.code == "rounding_differs"
    assert "continues on another processor: its result is the same up to rounding" in warning.message
    assert second_run.of(events.Finished)


def test_a_choice_of_an_earlier_version_is_made_by_the_first_attempt_of_this_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    spec = _spec(tmp_path, tiny_model)
    _run_on(lambda _: None, spec, stops_at=1)
    newest = sorted((Path(spec.work_dir) / "checkpoints").iterdir())[-1]
    path = newest / STATE
    values = json.loads(path.read_bytes())
    for name in ("device", "hardware", "precision", "is_packed", "uses_onednn"):
        del values[name]
    path.write_text(json.dumps(values))
    (newest / "manifest.json").unlink()
    seal_folder(newest)

    assert _run_on(lambda _: None, spec).one(events.Prepared).start_step == 2
    assert _state(spec).device == "cpu"


def test_lanes_without_memory_for_two_examples_compute_one_after_the_other(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a restart: both attempts then round alike."""

    def fail(*_: Any) -> None:
        raise MemoryError

    options = {"checkpoint_steps": 1}
    expected = run_here(make_spec(tmp_path / "two", tiny_model, epochs=1, options=options))
    spec = make_spec(tmp_path / "one", tiny_model, epochs=1, options=options)
    monkeypatch.setattr(lanes.Lanes, "accumulate", fail)
    outcome = run_here(spec)

    assert list(outcome.losses.values()) == pytest.approx(list(expected.losses.values()), abs=1e-5)
    assert "memory ran out" in outcome.choice("micro_batch_tokens").reason
    assert _state(spec).lanes == 1
    adapter = adapter_bytes(Path(spec.work_dir) / "result")
    for folder in sorted((Path(spec.work_dir) / "checkpoints").iterdir())[1:]:
        shutil.rmtree(folder)
    shutil.rmtree(Path(spec.work_dir) / "result")
    second_run = run_here(spec)
    assert second_run.one(events.Prepared).start_step > 0
    assert adapter_bytes(Path(spec.work_dir) / "result") == adapter


def test_no_memory_for_the_micro_batches_of_an_earlier_attempt_is_no_reason_to_fail(
    tiny_model: Path, tmp_path: Path
) -> None:
    spec = _spec(tmp_path, tiny_model)
    _run_on(_device(PLAIN), spec, stops_at=1)
    assert _state(spec).lanes == 2

    second_run = _run_on(_device(Device("cpu", "CPU", 1 << 20, has_fast_bfloat16=False)), spec)

    assert second_run.one(events.Warned).code == "rounding_differs"
    assert second_run.choice("micro_batch_tokens").value == "1"
    assert second_run.of(events.Finished)
    assert _state(spec).lanes == 1


@pytest.mark.criterion("2.5")
def test_each_attempt_that_ran_out_of_memory_halves_what_the_next_one_plans_with(
    tiny_model: Path, tmp_path: Path
) -> None:
    """A trainer that the kernel kills can't recover, so only the next attempt can take less."""
    spec = _spec(tmp_path, tiny_model)
    _run_on(_device(PLAIN), spec, stops_at=1)

    second_run = _run_on(_device(PLAIN), msgspec.structs.replace(spec, memory_failures=2))

    assert second_run.choice("gradient_checkpointing").figures["available_bytes"] == MEMORY >> 2
    warning = second_run.one(events.Warned)
    assert warning.code == "less_memory_planned"
    assert warning.message == f"Memory ran out before, so this attempt plans with {MEMORY >> 22} MiB."
    assert second_run.one(events.Prepared).start_step > 0
    assert second_run.of(events.Finished)


def test_a_run_that_the_whole_machine_has_no_memory_for_fails_before_it_takes_any(
    tiny_model: Path, tmp_path: Path
) -> None:
    device = Device("cpu", "CPU", MEMORY, has_fast_bfloat16=False, total_bytes=MEMORY)
    spec = make_spec(tmp_path, tiny_model, options={"rank": 10_000_000})

    failure = _run_on(_device(device), spec).one(events.Failed)

    assert (failure.code, failure.is_transient) == ("out_of_memory", False)
    assert "and the worker has 8192 MiB" in failure.message


def test_a_version_with_a_further_setting_goes_on_with_a_run(tiny_model: Path, tmp_path: Path) -> None:
    class Options(TrainingOptions, frozen=True, kw_only=True):
        novelty: int = 3

    spec = _spec(tmp_path, tiny_model)
    values = msgspec.to_builtins(spec.options)

    def changed(**changes: int) -> str:
        options = msgspec.convert(values | changes, Options)
        return fingerprint(msgspec.structs.replace(spec, options=options), [])

    assert changed() == changed(logging_steps=5) == fingerprint(spec, [])
    assert len({changed(), changed(novelty=4), changed(rank=4), changed(rank=2)}) == 4
