"""Keeps constraints that don't compile, or not in time, away from the engine.

The engine compiles for all tenants in one or a few threads that can't be stopped. So each new constraint is
tried before in a process that can (``grammar_trial``), and the result is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from pathlib import Path
from typing import Any, Self, cast

from inference_worker.runtime.constraints.compile_sandbox import TOO_LONG

logger = logging.getLogger("cyllm.worker.grammars")

BACKEND = "xgrammar"  # of vLLM; what is tried here
TRIED_KINDS = frozenset({"json", "regex", "structural_tag"})  # what else there is can't get large
PIPES_TIMEOUT_S = 2.0
START_TIMEOUT_S = 60.0
# The limit is on CPU time; on a busy machine that takes longer.
PATIENCE = 8
MAX_AT_ONCE = 2
MAX_KNOWN = 4096


class TrialUnavailableError(Exception):
    """The process for trials doesn't start or has ended."""


class GrammarGuard:
    """Tries constraints; the process for it is started when the first one comes.

    Not ``active`` for engines that were told to compile with something else than what is tried here.
    """

    def __init__(self, tokenizer: Path, vocabulary_size: int, limit_s: int, *, active: bool = True) -> None:
        self._active = active
        self._arguments = [str(tokenizer), str(vocabulary_size), str(limit_s)]
        self._patience_s = float(limit_s * PATIENCE)
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._trials: dict[bytes, asyncio.Task[str]] = {}
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._known: OrderedDict[bytes, str] = OrderedDict()

    @classmethod
    def of_engine(cls, client: Any, limit_s: int) -> Self:
        """A guard for a vLLM engine; ``client`` is its AsyncLLM."""
        model, backend = client.model_config, client.vllm_config.structured_outputs_config.backend
        return cls(Path(model.tokenizer), model.get_vocab_size(), limit_s, active=backend == BACKEND)

    async def check(self, kind: str, text: str) -> str:
        """Why the engine must not be given this constraint; empty if it may.

        ``kind``: vLLM's name for it, of which ``TRIED_KINDS`` are tried; ``text``: schema or pattern.
        Without a process to try it in, constraints pass: the gateway has bounds of its own.
        """
        if not self._active or kind not in TRIED_KINDS:
            return ""
        key = hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).digest()
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        # Who leaves ends no trial: its child runs on, so it keeps its place.
        return await asyncio.shield(self._trial(key, kind, text))

    async def close(self) -> None:
        """End the process."""
        for trial in self._trials.values():
            trial.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._process is not None:
            await ended(self._process)

    def _trial(self, key: bytes, kind: str, text: str) -> asyncio.Task[str]:
        """The one trial for all who ask for this constraint meanwhile."""
        if (running := self._trials.get(key)) is None:
            running = asyncio.create_task(self._tried(key, kind, text), name="grammar-trial")
            self._trials[key] = running
            running.add_done_callback(lambda _: self._trials.pop(key, None))
        return running

    async def _tried(self, key: bytes, kind: str, text: str) -> str:
        try:
            async with self._places:
                why = await self._try(kind, text)
        except TrialUnavailableError as error:
            logger.error("constraints pass without a trial: %s", error)
            return ""
        except TimeoutError:
            return TOO_LONG  # not for good: the machine may only be busy
        self._known[key] = why
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return why

    async def _try(self, kind: str, text: str) -> str:
        stdin = pipe(await self._running())
        number = next(self._numbers)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            stdin.write(json.dumps({"id": number, "kind": kind, "text": text}).encode() + b"\n")
            async with asyncio.timeout(self._patience_s):
                await stdin.drain()
                return await answer
        except TimeoutError:
            raise  # it is an OSError, but the process is there
        except OSError as error:
            raise TrialUnavailableError(type(error).__name__) from error
        finally:
            del self._waiting[number]

    async def _running(self) -> Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await self._start()
            return self._process

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "inference_worker.runtime.constraints.compile_sandbox", *self._arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
        )
        if await self._first_line(process):
            self._reader = asyncio.create_task(self._read(process), name="grammar-trials")
            return process
        await ended(process)
        raise TrialUnavailableError("its process does not start")

    async def _first_line(self, process: Process) -> bytes:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                return await answers(process).readline()
        return b""

    async def _read(self, process: Process) -> None:
        while line := await answers(process).readline():
            said = json.loads(line)
            waiting = self._waiting.get(said["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(said["why"])
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(TrialUnavailableError("its process has ended"))


async def ended(process: Process) -> None:
    """Kill a process, unless it has ended, and let go of its pipes: trials that it leaves may hold them."""
    # Between its end and the news of it, asyncio says that there is no such process.
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.kill()
    await process.wait()
    pipe(process).close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PIPES_TIMEOUT_S):
            await answers(process).read()


def pipe(process: Process) -> asyncio.StreamWriter:
    """The way in of a process that was made with one."""
    return cast(asyncio.StreamWriter, process.stdin)


def answers(process: Process) -> asyncio.StreamReader:
    """The way out of a process that was made with one."""
    return cast(asyncio.StreamReader, process.stdout)
