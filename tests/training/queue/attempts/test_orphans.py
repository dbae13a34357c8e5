"""Only processes that a killed worker has left behind are killed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.patience import PATIENCE_S
from training.supervisor.folders import job_folder
from training.supervisor.orphans import RECORD_FILE, TrainerRecord, orphans_end, trainer_record


@pytest.fixture(autouse=True)
def _folders(settings: Any, tmp_path: Path) -> None:
    """Job folders of this test."""
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_dir": tmp_path})


@pytest.fixture
def trainer() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def record(trainer: subprocess.Popen[bytes], **changes: Any) -> Path:
    """Write the record of a trainer whose worker has died, with some changes."""
    folder = job_folder("ftjob-1").path
    trainer_record(folder, trainer.pid)
    path = folder / RECORD_FILE
    values = TrainerRecord(**json.loads(path.read_text()))
    dead_worker = {"worker_started": psutil.Process().create_time() - 1000.0}
    path.write_text(json.dumps(dataclasses.asdict(values) | dead_worker | changes))
    return path


@pytest.mark.case("training.26")
def test_the_trainer_of_a_dead_worker_is_killed(trainer: subprocess.Popen[bytes]) -> None:
    path = record(trainer)
    assert orphans_end() == 1
    assert trainer.wait(PATIENCE_S) == -9
    assert not path.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"started": 1.0},  # the process id was used again
        {"boot": "another"},
        {"pid_namespace": 1},
        {"host": "another"},
    ],
)
def test_a_process_that_has_only_the_id_of_a_trainer_lives_on(
    trainer: subprocess.Popen[bytes], changes: dict[str, Any]
) -> None:
    record(trainer, **changes)
    assert orphans_end() == 0
    assert trainer.poll() is None
