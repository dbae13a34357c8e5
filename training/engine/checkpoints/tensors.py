"""Optimizer state as named tensors and JSON, without pickled code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from training.durable_files import sync


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors as safetensors and sync the file. Raises OSError or SafetensorError.

    Contiguous tensors in the host's memory are not copied.
    """
    contents = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contents, path, metadata={"format": "pt"})
    sync(path)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors in a file."""
    return dict(load_file(path))


def optimizer_tensors(optimizer: Any) -> dict[str, torch.Tensor]:
    """Return the optimizer's tensors as ``<parameter's number>.<name>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
    }


def optimizer_groups(optimizer: Any) -> list[dict[str, Any]]:
    """Return the parameter groups' settings, which JSON can hold."""
    return [dict(group) for group in optimizer.state_dict()["param_groups"]]


def restore_optimizer(optimizer: Any, tensors: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> None:
    """Set the state of an optimizer over the same parameters."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    restored_groups = [{**group, "betas": tuple(group["betas"])} for group in groups]
    optimizer.load_state_dict({"state": state, "param_groups": restored_groups})
