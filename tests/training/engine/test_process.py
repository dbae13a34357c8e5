"""The trainer as a process: events and nothing else on its output, its lease, signals and exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.ports import reserved_port
from tests.stacks import wait_until
from tests.training.engine.runs import Outcome, make_spec, run_here
from training.engine import events
from training.engine.checkpoints.plan import PLAN
from training.engine.checkpoints.state import decode_state
from training.engine.events import Renew, Stop, decode_event, encode
from training.engine.exit_codes import EXIT_LEASE_LOST
from training.engine.spec import TrainingSpec

ROOT = Path(__file__).resolve().parents[3]
AUTOGROUP = Path("/proc/self/autogroup")


def _start(spec: TrainingSpec, folder: Path) -> subprocess.Popen[bytes]:
    path = folder / "spec.json"
    path.write_bytes(msgspec.json.encode(spec))
    return subprocess.Popen(
        [sys.executable, "-m", "training.engine", "run", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.criterion("2.3", "2.4")
def test_the_termination_signal_saves_within_a_step(tiny_model: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, tiny_model, epochs=1000, lease_s=1000, options={"checkpoint_steps": 10_000})
    process = _start(spec, tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(encode(Renew()))
    process.stdin.flush()
    lines: list[events.TrainerEvent] = []
    while not lines or not isinstance(lines[-1], events.Progress):
        lines.append(decode_event(process.stdout.readline()))

    process.send_signal(signal.SIGTERM)
    lines += [decode_event(line) for line in process.stdout]  # its input stays open: the lease holds
    process.communicate()

    stop_event = lines[-1]
    assert isinstance(stop_event, events.Stopped)
    assert stop_event.step == stop_event.checkpoint_step
    assert process.returncode == 0
    assert (tmp_path / "work" / "checkpoints" / f"step-{stop_event.step:08d}" / "manifest.json").exists()


@pytest.mark.criterion("2.3")
def test_without_a_renewal_the_trainer_ends_itself(tiny_model: Path, tmp_path: Path) -> None:
    process = _start(make_spec(tmp_path, tiny_model, lease_s=0.5), tmp_path)
    with process:
        _, errors = process.stdout, process.stderr
        assert errors is not None
        text = errors.read()
        assert process.wait() == EXIT_LEASE_LOST
        assert b"the lease has expired" in text


@pytest.mark.criterion("2.3")
def test_a_trainer_whose_supervisor_is_gone_ends_itself(tiny_model: Path, tmp_path: Path) -> None:
    process = _start(make_spec(tmp_path, tiny_model, lease_s=1000), tmp_path)
    assert process.stdin is not None

    process.stdin.close()

    process.stdin = None
    _, errors = process.communicate()
    assert process.returncode == EXIT_LEASE_LOST
    assert b"the standard input has ended" in errors
    assert not (tmp_path / "work" / "result").exists()


_WITHOUT_A_READER = """
import time
from training.engine.control import InputControl

InputControl(lease_s=1000).start()
time.sleep(60)
"""


@pytest.mark.criterion("2.3")
@pytest.mark.parametrize("reader", ["gone", "frozen"])
def test_a_trainer_ends_itself_even_if_nobody_reads_its_last_words(reader: str) -> None:
    output, errors = os.pipe()
    if reader == "gone":
        os.close(output)
    else:
        os.set_blocking(errors, False)
        while _has_room(errors):
            pass
        os.set_blocking(errors, True)
    process = subprocess.Popen(
        [sys.executable, "-c", _WITHOUT_A_READER], stdin=subprocess.DEVNULL, stderr=errors, cwd=ROOT
    )
    os.close(errors)
    try:
        assert process.wait() == EXIT_LEASE_LOST
    finally:
        process.kill()
        if reader == "frozen":
            os.close(output)


def _has_room(pipe: int) -> bool:
    try:
        return os.write(pipe, b"x" * 4096) > 0
    except BlockingIOError:
        return False


_WITH_A_FAILURE_IN_THE_SECOND = """
import os, sys
from training.engine import setup
from training.engine.__main__ import main

def fail(*_, **__):
    raise MemoryError

if os.environ["RANK"] == "1":
    setup.prepare_model = fail
sys.exit(main(["run", sys.argv[1]]))
"""


def test_the_process_that_fails_names_the_cause(tiny_model: Path, tmp_path: Path) -> None:
    path, script = tmp_path / "spec.json", tmp_path / "run.py"
    path.write_bytes(msgspec.json.encode(make_spec(tmp_path, tiny_model)))
    script.write_text(_WITH_A_FAILURE_IN_THE_SECOND)

    process = _run_two(script, path)

    assert process.returncode == 1
    lines = [decode_event(line) for line in process.stdout.splitlines() if line]
    first = Outcome(lines).of(events.Failed)[0]
    assert first.code == "out_of_memory"


_LAUNCHER = """
import os, subprocess, sys
os.nice(10)
command = [sys.executable, "-m", "training.engine", "run", sys.argv[1]]
process = subprocess.Popen(command, start_new_session=True)
print(process.pid, flush=True)
process.wait()
"""


@pytest.mark.criterion("2.3")
def test_processes_of_a_run_share_priority_and_end_with_the_launcher_that_gave_them_sessions(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The supervisor kills the launcher's process group; torchrun's processes are not in it.

    It lowers the launcher's session, and a stop of all processes at once is the first one's to handle.
    """
    path = tmp_path / "spec.json"
    path.write_bytes(msgspec.json.encode(make_spec(tmp_path, tiny_model)))
    # The second process of two: it waits for the first one, which does not come.
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(reserved_port())}
    second_process = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", **address}
    with subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | second_process,
    ) as launcher:
        assert launcher.stdout is not None
        process = psutil.Process(int(launcher.stdout.readline()))
        try:
            wait_until(lambda: "libtorch" in _mapped_files(process), "the trainer has started")
            if AUTOGROUP.exists():
                autogroup = Path(f"/proc/{process.pid}/autogroup").read_text()
                assert autogroup.endswith(f"nice {process.nice()}\n")
            process.terminate()
            with pytest.raises(psutil.TimeoutExpired):
                process.wait(0.5)
            launcher.kill()
            wait_until(lambda: _has_ended(process), "the trainer ends")
        finally:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _mapped_files(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def _has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _run_two(script: Path, spec: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a script in two processes of one run."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, *command, str(script), str(spec)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def test_a_spec_that_is_not_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"job_id": "x"}')

    process = subprocess.run(
        [sys.executable, "-m", "training.engine", "run", str(tmp_path / "spec.json")],
        capture_output=True,
        check=False,
    )

    assert process.returncode == 2
    assert process.stdout == b""
    assert b"missing required field" in process.stderr


def test_a_request_to_stop_that_saves_is_not_replaced() -> None:
    from training.engine.control import ManualControl

    control = ManualControl()
    control.request_stop(Stop(is_saved=True))
    control.request_stop(Stop(is_saved=False))

    assert control.stop == Stop(is_saved=True)


_WITH_LITTLE_MEMORY_IN_THE_SECOND = """
import os, sys
from training.engine.__main__ import main
from training.engine.hardware import device

device.available_memory = lambda: 1 if os.environ["RANK"] == "1" else 4 << 30
sys.exit(main(["run", sys.argv[1]]))
"""


@pytest.mark.case("training.17")
def test_two_processes_with_different_memory_share_each_step_and_compute_the_same(
    tiny_model: Path, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path / "two", tiny_model, validation=3)
    path, script = tmp_path / "spec.json", tmp_path / "run.py"
    path.write_bytes(msgspec.json.encode(spec))
    script.write_text(_WITH_LITTLE_MEMORY_IN_THE_SECOND)

    process = _run_two(script, path)

    assert process.returncode == 0, process.stderr.decode()
    pair = Outcome([decode_event(line) for line in process.stdout.splitlines()])
    alone = run_here(make_spec(tmp_path / "one", tiny_model, validation=3))
    assert len(pair.losses) == 6
    assert list(pair.losses.values()) == pytest.approx(list(alone.losses.values()), abs=2e-5)
    assert [event.learning_rate for event in pair.of(events.Progress)] == [
        event.learning_rate for event in alone.of(events.Progress)
    ]
    plan = decode_state((tmp_path / "two" / "work" / PLAN).read_bytes())
    assert (plan.micro_batch_tokens, plan.lanes) == (1, 1)
    assert pair.choice("micro_batch_tokens").value == "1"
    assert pair.choice("gradient_checkpointing").figures["available_bytes"] == 2 << 30  # half of its host's
    assert pair.one(events.Finished).result.loss == pytest.approx(
        alone.one(events.Finished).result.loss, abs=2e-5
    )
