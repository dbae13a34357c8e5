"""The processes of a distributed run, as torchrun starts them. Without torchrun there is only one."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import PartialState
from accelerate.utils import gather


def main_process_first() -> AbstractContextManager[None]:
    """Let the other processes of a distributed run enter a context only after the first one has left it."""
    if is_alone():
        return nullcontext()
    context: AbstractContextManager[None] = _processes().main_process_first()
    return context


def smallest_of_all(figure: int) -> int:
    """Return the smallest of the figures of all processes. It waits until each of them has called it."""
    if is_alone():
        return figure
    return int(gather(torch.tensor([figure], device=_processes().device)).min())


def is_main_process() -> bool:
    """True in the process that reports and saves: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def is_alone() -> bool:
    """True in a process that trains without others."""
    return process_count() == 1


def process_count() -> int:
    """Return the processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _processes() -> PartialState:
    return PartialState(cpu=not torch.cuda.is_available())
