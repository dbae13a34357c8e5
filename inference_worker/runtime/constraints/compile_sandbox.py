"""A process that compiles constraints before the engine does, each in a child process with limits.

``python -m inference_worker.runtime.constraints.compile_sandbox FOLDER VOCABULARY_SIZE LIMIT_S COMPACT``
reads one JSON object per line, ``{"id", "kind", "text"}``, and answers each with ``{"id", "reason"}``. An
empty reason means that the constraint compiles. The forked children inherit the tokenizer.
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

from inference_worker.runtime.parent_death import bind_children_to_parent

MEMORY_BYTES = 3 * 2**30  # on top of the process's own
NICENESS = 5  # lower than generation
MAX_WARNING_BYTES = 65_536
MAX_REASON_LENGTH = 300  # so a response fits into one atomic write to a pipe
TOO_LONG = "it takes too long to compile"
TOO_LARGE = "it takes too much memory to compile"
UNABLE = "the engine can't compile it"
LOG_PREFIX = re.compile(r"^\[[\d:]+\] \S+:\d+: ")  # time and source line of xgrammar
READY = {"id": 0, "reason": ""}
# xgrammar drops these parts of a pattern, or takes them literally, with only a warning, and the rest would
# accept other texts. It also ignores anchors, but those are redundant: patterns match whole texts.
DROPPED_PART = re.compile(
    rb"Warning: ([^\n]*(?:not supported and is ignored|Escape sequence '?\\[A-Za-z0-9]'? is not recog)[^\n]*)"
)


Compile = Callable[[str, str], Any]


def make_compile(folder: str, vocabulary_size: int, *, is_compact: bool) -> Compile:
    """Return a function that compiles with vLLM's options (v1/structured_output/backend_xgrammar.py).

    ``is_compact``: vLLM's ``disable_any_whitespace``.
    """
    import xgrammar
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer_info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary_size)

    def compile_constraint(kind: str, text: str) -> Any:
        # Created in the child, because its threads do not survive a fork.
        compiler = xgrammar.GrammarCompiler(tokenizer_info, max_threads=1, cache_enabled=True)
        if kind == "json":
            separators = (",", ":") if is_compact else None
            return compiler.compile_json_schema(text, any_whitespace=not is_compact, separators=separators)
        return (compiler.compile_regex if kind == "regex" else compiler.compile_structural_tag)(text)

    return compile_constraint


def compile_error(compile_constraint: Compile, kind: str, text: str) -> str:
    """Return the reason why a constraint doesn't compile, on one line; empty if it does."""
    try:
        compile_constraint(kind, text)
    except MemoryError:
        return TOO_LARGE
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = LOG_PREFIX.sub("", lines[0])
        return UNABLE if reason.startswith("Check failed") else reason.rstrip(".")[:MAX_REASON_LENGTH]
    return ""


def serve(compile_constraint: Compile, limit_s: int) -> None:
    """Answer requests until the end of the input."""
    children: dict[int, int] = {}
    signal.signal(signal.SIGCHLD, lambda *_: reap(children))
    respond(READY)
    for line in sys.stdin:
        request = json.loads(line)
        # Blocked, so that a child which exits at once is in the table before it is reaped.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        if (child := os.fork()) == 0:
            _check_and_exit(compile_constraint, request, limit_s)
        children[child] = request["id"]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def reap(children: dict[int, int]) -> None:
    """Respond for children that exceeded a limit."""
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        request_id = children.pop(child)
        if os.WIFSIGNALED(status):
            timed_out = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
            respond({"id": request_id, "reason": TOO_LONG if timed_out else TOO_LARGE})


def _check_and_exit(compile_constraint: Compile, request: dict[str, Any], limit_s: int) -> None:
    """Check the constraint in the child process and end it."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
        memory = _address_space_bytes() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        warnings = os.memfd_create("warnings")
        os.dup2(warnings, 2)
        reason = compile_error(compile_constraint, request["kind"], request["text"])
        respond({"id": request["id"], "reason": reason or _dropped_part(warnings)})
    finally:
        os._exit(0)


def _dropped_part(warnings: int) -> str:
    match = DROPPED_PART.search(os.pread(warnings, MAX_WARNING_BYTES, 0))
    return "" if match is None else match[1].decode(errors="replace").strip()[:MAX_REASON_LENGTH]


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def respond(response: dict[str, Any]) -> None:
    """Write a response as one line, in one write."""
    os.write(1, json.dumps(response).encode() + b"\n")


if __name__ == "__main__":
    bind_children_to_parent()
    os.nice(NICENESS)
    serve(make_compile(sys.argv[1], int(sys.argv[2]), is_compact=sys.argv[4] == "1"), int(sys.argv[3]))
