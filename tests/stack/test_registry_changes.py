"""Models are added, changed and removed while requests run: nothing restarts, and no request fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.stack.adapters.test_static_adapters import model_names
from tests.stack.conftest import OwnedStack
from tests.stack.sse import Reply, chat, receive
from tests.stacks import wait_until
from tests.tuned import save_adapter

NEW = "ft:tiny:demo:reload:1"
PROCESSES = ("gateway", "worker", "celery")


@contextmanager
def _steady_requests(client: httpx.Client) -> Iterator[list[Reply]]:
    """Send short requests to the base model one after another; yield their replies."""
    replies: list[Reply] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            replies.append(receive(client, chat("tiny", f"steady {len(replies)}", 4)))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield replies
    finally:
        stop.set()
        sender.join()


def _refusal(client: httpx.Client, model: str) -> str:
    reply = receive(client, chat(model, "hello", 4))
    return reply.error["code"] if reply.error else ""


@pytest.mark.criterion("4.5")
def test_models_are_added_changed_and_removed_without_a_restart_or_a_failed_request(
    ready_stack: OwnedStack, tiny_model: Path, tmp_path: Path
) -> None:
    stack, folder = ready_stack, save_adapter(tiny_model, tmp_path / "adapter", seed=5)
    pids = [stack.pid(name) for name in PROCESSES]
    add = ("adapters", "add", NEW, str(folder), "--base", "tiny", "--tenant", "demo")
    with stack.client() as client, _steady_requests(client) as replies:
        assert _refusal(client, NEW) == "model_not_found"
        stack.manage(*add, "--base-folder", str(tiny_model))
        wait_until(lambda: NEW in model_names(client), "the new model is listed")
        assert receive(client, chat(NEW, "hello", 4)).is_done

        aliases = client.get("/v1/models/tiny").json()
        stack.manage("models", "update", NEW, "--alias", "reloaded")
        assert receive(client, chat("reloaded", "hello", 4)).is_done
        assert client.get("/v1/models/tiny").json() == aliases

        long = Reply()
        reader = threading.Thread(target=receive, args=(client, chat(NEW, "a long story", 400), long))
        reader.start()
        wait_until(lambda: len(long.events) > 2, "an answer of the model runs")
        stack.manage("models", "update", NEW, "--disable")
        assert _refusal(client, "reloaded") == "model_not_found"
        reader.join()
        assert (long.error, long.is_done) == (None, True)

        stack.manage("models", "update", NEW, "--enable", "--alias", "again")
        assert receive(client, chat("again", "hello", 4)).is_done
        stack.manage("adapters", "delete", NEW)
        assert _refusal(client, NEW) == _refusal(client, "again") == "model_not_found"
    assert len(replies) > 5
    assert all(reply.status == 200 and reply.is_done and reply.error is None for reply in replies)
    assert [stack.pid(name) for name in PROCESSES] == pids
