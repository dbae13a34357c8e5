"""Processes end with their parent: forked, spawned, of any generation, from any thread, however it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.settings import ROOT
from inference_worker.runtime.parent_death import EXIT_NO_PARENT
from tests.processes import is_dead
from tests.stacks import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")

# As ``python -m PACKAGE``: multiprocessing does not import such a main module in its children.
FAMILY = """
import multiprocessing, os, sys, threading, time
from inference_worker.runtime.parent_death import bind_children_to_parent


def child(depth, method, folder):
    open(f"{folder}/{os.getpid()}", "w").close()
    if depth:
        multiprocessing.get_context(method).Process(target=child, args=(depth - 1, method, folder)).start()
    time.sleep(120)


def start(method, folder):
    multiprocessing.get_context(method).Process(target=child, args=(1, method, folder)).start()


def main():
    method, where, folder = sys.argv[1:]
    bind_children_to_parent()
    if where == "main":
        start(method, folder)
    else:
        thread = threading.Thread(target=start, args=(method, folder))
        thread.start()
        thread.join()
    time.sleep(120)
"""


def _pids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


@pytest.mark.case("robustness.18")
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("where", ["main", "thread"])
def test_children_and_grandchildren_of_a_killed_process_end(tmp_path: Path, method: str, where: str) -> None:
    package, folder = tmp_path / "family", tmp_path / "pids"
    package.mkdir()
    folder.mkdir()
    (package / "__init__.py").touch()
    (package / "code.py").write_text(FAMILY)
    (package / "__main__.py").write_text("from family.code import main\nmain()\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-m", "family", method, where, str(folder)]
    with subprocess.Popen(command, env=environment) as parent:
        wait_until(lambda: len(_pids(folder)) == 2, "both generations run")
        # A thread that ends must not take the child that it started with it.
        assert not any(is_dead(pid) for pid in _pids(folder))
        parent.kill()
    wait_until(lambda: all(is_dead(pid) for pid in _pids(folder)), "all have ended")


def test_a_process_whose_parent_has_died_already_does_not_start() -> None:
    code = "import sys; from inference_worker.runtime.parent_death import main; main(sys.argv[1:])"
    arguments = [str(int(signal.SIGKILL)), "1", "-1", "-1", "--", "/bin/echo", "started"]
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (EXIT_NO_PARENT, "")
