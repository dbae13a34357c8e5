"""A killed worker. The last test of its folder, so that none waits for the next engine."""

from __future__ import annotations

import psutil

from tests.patience import PATIENCE_S
from tests.stack.conftest import OwnedStack
from tests.stacks import wait_until


def test_a_killed_worker_leaves_no_engine_process_and_is_restarted(
    ready_stack: OwnedStack,
) -> None:
    worker = psutil.Process(ready_stack.pid("worker"))
    children = worker.children(recursive=True)
    assert children
    worker.kill()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert [child.name() for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
    wait_until(lambda: ready_stack.pid("worker") != worker.pid, "the worker is restarted")
    wait_until(lambda: not ready_stack.ready(), "the stack is no longer ready, which the next test sees")
