"""The check of a LoRA adapter before it is published: complete, finite, and nothing that engines ignore.

vLLM silently loads an adapter without part of its weights, and one with weights that it does not apply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_worker.protocol.adapter_archive import CONFIG_NAME, MAX_CONFIG_BYTES, WEIGHTS_NAME
from training.engine.spec import MAX_SERVED_RANK, UNSERVABLE_MODULES
from training.model_files.tensor_headers import Tensor, TensorFileError, read_tensors
from training.publishing.tensors import check_values

PREFIX = "base_model.model."
LISTED = 3
# Fields of peft's configuration that change the computation in ways an engine doesn't know.
UNSUPPORTED_FIELDS = (
    *("use_dora", "modules_to_save", "lora_bias", "layers_to_transform", "layer_replication"),
    *("trainable_token_indices", "target_parameters", "fan_in_fan_out", "use_qalora", "use_bdlora"),
    *("alora_invocation_tokens", "megatron_config", "arrow_config"),
)
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


class InvalidAdapterError(ValueError):
    """The folder has no adapter that can be served. The text names the fault."""


@dataclass(frozen=True, slots=True)
class AdapterSummary:
    """``rank``: the highest of all modules. ``modules``: names of the modules that it changes."""

    rank: int
    modules: tuple[str, ...]


def check_adapter(folder: Path, base_folder: Path) -> AdapterSummary:
    """Check an adapter of peft against its base model's weights. Raises InvalidAdapterError, OSError."""
    config = _read_config(folder / CONFIG_NAME)
    _check_features(config)
    weights = folder / WEIGHTS_NAME
    try:
        tensors = read_tensors(weights)
        shapes = linear_shapes(base_folder)
        summary = _check_tensors(config, tensors, shapes)
        _check_values(weights, tensors)
    except FileNotFoundError as error:
        raise InvalidAdapterError(f"{Path(error.filename).name} is missing") from None
    except TensorFileError as error:
        raise InvalidAdapterError(str(error)) from None
    return summary


def _read_config(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise InvalidAdapterError(f"{file.name} is too large")
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InvalidAdapterError(f"{file.name} is missing") from None
    except (ValueError, RecursionError):
        raise InvalidAdapterError(f"{file.name} is damaged") from None
    if not isinstance(config, dict) or not isinstance(config.get("r"), int):
        raise InvalidAdapterError(f"{file.name} has no rank")
    return config


def _check_features(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise InvalidAdapterError(f"its type is {config.get('peft_type')}, not LORA")
    if fields := [name for name in UNSUPPORTED_FIELDS if config.get(name)]:
        raise InvalidAdapterError(f"engines don't support {', '.join(fields)}")
    if config.get("bias", "none") != "none":
        raise InvalidAdapterError("engines don't support bias")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        raise InvalidAdapterError(f"init_lora_weights={init} changes the base model's weights")


def linear_shapes(base_folder: Path) -> dict[str, tuple[int, int]]:
    """Return output and input size of the base model's linear modules by name. Raises TensorFileError."""
    files = sorted(base_folder.glob("*.safetensors"))
    if not files:
        raise TensorFileError("the base model's folder has no weights")
    shapes: dict[str, tuple[int, int]] = {}
    for file in files:
        for name, tensor in read_tensors(file).items():
            module, _, kind = name.rpartition(".")
            if (
                kind == "weight"
                and len(tensor.shape) == 2
                and module.rpartition(".")[2] not in UNSERVABLE_MODULES
            ):
                shapes[module] = (tensor.shape[0], tensor.shape[1])
    return shapes


def _check_tensors(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, int]]
) -> AdapterSummary:
    modules = _target_modules(config, shapes)
    expected_shapes: dict[str, tuple[int, ...]] = {}
    ranks = []
    for module in modules:
        rank = _rank(config, module)
        ranks.append(rank)
        outputs, inputs = shapes[module]
        expected_shapes[f"{PREFIX}{module}.lora_A.weight"] = (rank, inputs)
        expected_shapes[f"{PREFIX}{module}.lora_B.weight"] = (outputs, rank)
    if missing := sorted(expected_shapes.keys() - tensors.keys()):
        raise InvalidAdapterError(f"weights are missing: {_list(missing)}")
    if extra := sorted(tensors.keys() - expected_shapes.keys()):
        raise InvalidAdapterError(f"the base model or the configuration has no place for {_list(extra)}")
    for name, shape in expected_shapes.items():
        if tensors[name].shape != shape:
            raise InvalidAdapterError(f"{name} has shape {tensors[name].shape}, expected {shape}")
    return AdapterSummary(max(ranks), tuple(modules))


def _target_modules(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, int]]) -> Sequence[str]:
    targets = config.get("target_modules")
    if isinstance(targets, str):
        matches = [module for module in shapes if _matches(targets, module)]
        missing = [] if matches else [targets]
    elif isinstance(targets, list) and targets:
        matches = [module for module in shapes if any(_is_suffix(target, module) for target in targets)]
        missing = [target for target in targets if not any(_is_suffix(target, module) for module in matches)]
    else:
        raise InvalidAdapterError("it has no target_modules")
    if missing:
        raise InvalidAdapterError(f"the base model has no linear module {_list(sorted(map(str, missing)))}")
    return sorted(matches)


def _matches(pattern: str, module: str) -> bool:
    try:
        return re.fullmatch(pattern, module) is not None
    except re.error:
        raise InvalidAdapterError("its target_modules are not a valid pattern") from None


def _is_suffix(target: object, module: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _rank(config: Mapping[str, Any], module: str) -> int:
    """Return the rank of a module. By peft's rule, the first pattern that matches the name's end wins."""
    ranks = config.get("rank_pattern") or {}
    if not isinstance(ranks, dict):
        raise InvalidAdapterError("its rank_pattern is not an object")
    pattern = next((key for key in ranks if _ends_in(key, module)), None)
    rank = config["r"] if pattern is None else ranks[pattern]
    if not (isinstance(rank, int) and 1 <= rank <= MAX_SERVED_RANK):
        raise InvalidAdapterError(f"its rank {rank} is not between 1 and {MAX_SERVED_RANK}")
    return rank


def _ends_in(pattern: str, module: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({pattern})$", module) is not None
    except re.error:
        raise InvalidAdapterError(f"'{pattern}' in its rank_pattern is not a valid pattern") from None


def _check_values(weights: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise InvalidAdapterError if a value is not finite, or if the adapter changes nothing."""
    is_zero = True
    for name, tensor in tensors.items():
        values = check_values(weights, tensor)
        if not values.is_finite:
            raise InvalidAdapterError(f"{name} has values that are not finite")
        if name.endswith(".lora_B.weight"):
            is_zero = is_zero and values.is_zero
    if is_zero:
        raise InvalidAdapterError("it changes nothing: all weights of lora_B are zero")


def _list(names: Sequence[str]) -> str:
    rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + rest
