"""A process that tries to compile constraints, each in a child with limits, before the engine has to.

``python -m inference_worker.runtime.constraints.compile_sandbox FOLDER VOCABULARY_SIZE LIMIT_S`` reads one JSON object a
line, ``{"id", "kind", "text"}``, and answers each with ``{"id", "why"}``, where an empty ``why`` means that
it compiles. The tokenizer is loaded once; a child that is forked has it at once, and ends with its limits.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference_worker.runtime.parent_death import die_with_parent

MEMORY_BYTES = 3 * 2**30  # beyond what the process has anyway
NICENESS = 5  # what is generated comes first
MOST_READ = 65_536  # of the warnings
MAX_WHY = 300  # a line stays below the size that a pipe takes in one piece
TOO_LONG = "it takes too long to compile"
TOO_LARGE = "it takes too much memory to compile"
UNABLE = "the engine can't compile it"
PLACE = re.compile(r"^\[[\d:]+\] \S+:\d+: ")  # time and line of xgrammar's own source
READY = {"id": 0, "why": ""}
# What xgrammar leaves out of a pattern, or takes for a letter, with nothing but a warning: what is left would
# accept other texts. Anchors that it ignores are none of these, since patterns are matched as a whole.
LEFT_OUT = re.compile(
    rb"Warning: ([^\n]*(?:not supported and is ignored|Escape sequence '?\\[A-Za-z0-9]'? is not recog)[^\n]*)"
)


Compile = Callable[[str, str], Any]


def compiler(folder: str, vocabulary_size: int) -> Compile:
    """vLLM's way to compile (v1/structured_output/backend_xgrammar.py), with the same options."""
    import xgrammar
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    told = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary_size)

    def compile_constraint(kind: str, text: str) -> Any:
        # Made in the child: its threads would not survive the fork.
        made = xgrammar.GrammarCompiler(told, max_threads=1, cache_enabled=True)
        if kind == "json":
            return made.compile_json_schema(text, any_whitespace=True)
        return (made.compile_regex if kind == "regex" else made.compile_structural_tag)(text)

    return compile_constraint


def why_not(compile_constraint: Compile, kind: str, text: str) -> str:
    """Why a constraint doesn't compile, in one line; empty if it does."""
    try:
        compile_constraint(kind, text)
    except MemoryError:
        return TOO_LARGE
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        told = PLACE.sub("", lines[0])
        return UNABLE if told.startswith("Check failed") else told.rstrip(".")[:MAX_WHY]
    return ""


def serve(compile_constraint: Compile, limit_s: int) -> None:
    """Answer until the input ends."""
    children: dict[int, int] = {}
    signal.signal(signal.SIGCHLD, lambda *_: reap(children))
    answer(READY)
    for line in sys.stdin:
        asked = json.loads(line)
        # A child that ends at once is in the table before anyone looks for it there.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        if (child := os.fork()) == 0:
            _try(compile_constraint, asked, limit_s)
        children[child] = asked["id"]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def reap(children: dict[int, int]) -> None:
    """Answer for children that a limit has ended."""
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        asked_id = children.pop(child)
        if os.WIFSIGNALED(status):
            timed_out = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
            answer({"id": asked_id, "why": TOO_LONG if timed_out else TOO_LARGE})


def _try(compile_constraint: Compile, asked: dict[str, Any], limit_s: int) -> None:
    """In the child, which ends here."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
        memory = _size_bytes() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        warnings = os.memfd_create("warnings")
        os.dup2(warnings, 2)
        why = why_not(compile_constraint, asked["kind"], asked["text"])
        answer({"id": asked["id"], "why": why or _left_out(warnings)})
    finally:
        os._exit(0)


def _left_out(warnings: int) -> str:
    found = LEFT_OUT.search(os.pread(warnings, MOST_READ, 0))
    return "" if found is None else found[1].decode(errors="replace").strip()[:MAX_WHY]


def _size_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def answer(said: dict[str, Any]) -> None:
    """Write one line in one piece."""
    os.write(1, json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    die_with_parent()
    os.nice(NICENESS)
    serve(compiler(sys.argv[1], int(sys.argv[2])), int(sys.argv[3]))
