"""Scripted engines as processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.ports import reserved_port
from tests.stacks import ROOT, wait_until


@contextmanager
def faulty_engine(script: str = "") -> Iterator[str]:
    """Run a scripted engine and yield its address; ``script`` is that of every response."""
    port = reserved_port()
    arguments = [script] if script else []
    process = subprocess.Popen([sys.executable, "-m", "tests.faulty_engine", str(port), *arguments], cwd=ROOT)
    try:
        wait_until(lambda: _responds(f"http://127.0.0.1:{port}/v1/models"), "the faulty engine answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _responds(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
