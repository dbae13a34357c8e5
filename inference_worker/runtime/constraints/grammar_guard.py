"""Rejects constraints that don't compile, or not in time, before they reach the engine.

The engine compiles for all tenants on a few threads that can't be interrupted. So each new constraint is
first compiled in a process that can be (``compile_sandbox``), and the result is cached.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from pathlib import Path
from typing import Any, Self, cast

from inference_worker.runtime.constraints.compile_sandbox import TOO_LONG
from inference_worker.runtime.parent_death import parent_bound_command

logger = logging.getLogger("cyllm.worker.grammars")

BACKEND = "xgrammar"  # vLLM's backend that the sandbox uses as well
CHECKED_KINDS = frozenset({"json", "regex", "structural_tag"})  # the other kinds are small
PIPES_TIMEOUT_S = 2.0
START_TIMEOUT_S = 60.0
WALL_PER_CPU_S = 8  # the limit is on CPU time, and a busy machine takes longer
MAX_CONCURRENT_CHECKS = 2
MAX_RESULTS = 4096


class SandboxUnavailableError(Exception):
    """The compile sandbox doesn't start or has ended."""


class GrammarGuard:
    """Checks constraints in the compile sandbox, which the first check starts.

    Inactive if the engine compiles with another backend than the sandbox. ``is_compact``: without optional
    white space in JSON.
    """

    def __init__(
        self,
        tokenizer: Path,
        vocabulary_size: int,
        limit_s: int,
        *,
        active: bool = True,
        is_compact: bool = True,
    ) -> None:
        self._active = active
        self._arguments = [str(tokenizer), str(vocabulary_size), str(limit_s), str(int(is_compact))]
        self._timeout_s = float(limit_s * WALL_PER_CPU_S)
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._start_lock = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._responses: dict[int, asyncio.Future[str]] = {}
        self._checks: dict[bytes, asyncio.Task[str]] = {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_CHECKS)
        self._results: OrderedDict[bytes, str] = OrderedDict()

    @classmethod
    def of_engine(cls, client: Any, limit_s: int) -> Self:
        """Return a guard for a vLLM engine; ``client`` is its AsyncLLM."""
        model, config = client.model_config, client.vllm_config.structured_outputs_config
        return cls(
            Path(model.tokenizer),
            model.get_vocab_size(),
            limit_s,
            active=config.backend == BACKEND,
            is_compact=config.disable_any_whitespace,
        )

    async def check(self, kind: str, text: str) -> str:
        """Return the reason to reject a constraint, empty if the engine may compile it.

        ``kind``: vLLM's name for it; ``text``: the schema or pattern. Without a sandbox constraints pass, as
        the gateway has bounds of its own.
        """
        if not self._active or kind not in CHECKED_KINDS:
            return ""
        key = hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).digest()
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        # Shielded: a disconnect must not cancel the check, whose child process still holds a slot.
        return await asyncio.shield(self._shared_check(key, kind, text))

    async def close(self) -> None:
        """End the sandbox."""
        for check in self._checks.values():
            check.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._process is not None:
            await kill(self._process)

    def _shared_check(self, key: bytes, kind: str, text: str) -> asyncio.Task[str]:
        """Return the running check of this constraint, or start one."""
        if (check := self._checks.get(key)) is None:
            check = asyncio.create_task(self._check_once(key, kind, text), name="grammar-check")
            self._checks[key] = check
            check.add_done_callback(lambda _: self._checks.pop(key, None))
        return check

    async def _check_once(self, key: bytes, kind: str, text: str) -> str:
        try:
            async with self._slots:
                reason = await self._compile(kind, text)
        except SandboxUnavailableError as error:
            logger.error("constraints are not checked: %s", error)
            return ""
        except TimeoutError:
            return TOO_LONG  # not cached: the machine may only be busy
        self._results[key] = reason
        if len(self._results) > MAX_RESULTS:
            self._results.popitem(last=False)
        return reason

    async def _compile(self, kind: str, text: str) -> str:
        stdin = stdin_of(await self._running_sandbox())
        number = next(self._numbers)
        response: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._responses[number] = response
        try:
            stdin.write(json.dumps({"id": number, "kind": kind, "text": text}).encode() + b"\n")
            async with asyncio.timeout(self._timeout_s):
                await stdin.drain()
                return await response
        except TimeoutError:
            raise  # an OSError too, but the sandbox is running
        except OSError as error:
            raise SandboxUnavailableError(type(error).__name__) from error
        finally:
            del self._responses[number]

    async def _running_sandbox(self) -> Process:
        async with self._start_lock:
            if self._process is None or self._process.returncode is not None:
                self._process = await self._start()
            return self._process

    async def _start(self) -> Process:
        module = "inference_worker.runtime.constraints.compile_sandbox"
        process = await asyncio.create_subprocess_exec(
            *parent_bound_command(
                [sys.executable, "-m", module, *self._arguments], death_signal=signal.SIGKILL
            ),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
        )
        if await self._first_line(process):
            self._reader = asyncio.create_task(self._read_responses(process), name="grammar-responses")
            return process
        await kill(process)
        raise SandboxUnavailableError("the compile sandbox does not start")

    async def _first_line(self, process: Process) -> bytes:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                return await stdout_of(process).readline()
        return b""

    async def _read_responses(self, process: Process) -> None:
        while line := await stdout_of(process).readline():
            message = json.loads(line)
            response = self._responses.get(message["id"])
            if response is not None and not response.done():
                response.set_result(message["reason"])
        for response in self._responses.values():
            if not response.done():
                response.set_exception(SandboxUnavailableError("the compile sandbox has ended"))


async def kill(process: Process) -> None:
    """Kill a process, unless it has ended, and close its pipes, which its children may still hold open."""
    # asyncio raises ProcessLookupError between the end of the process and its notification.
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.kill()
    await process.wait()
    stdin_of(process).close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PIPES_TIMEOUT_S):
            await stdout_of(process).read()


def stdin_of(process: Process) -> asyncio.StreamWriter:
    """Return the standard input of a process that was started with a pipe for it."""
    return cast(asyncio.StreamWriter, process.stdin)


def stdout_of(process: Process) -> asyncio.StreamReader:
    """Return the standard output of a process that was started with a pipe for it."""
    return cast(asyncio.StreamReader, process.stdout)
