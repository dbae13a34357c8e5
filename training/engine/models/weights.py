"""The base model and the weights that are trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from inference_worker.telemetry.masking import mask_folders
from training.engine.checkpoints.tensors import read_tensors, write_tensors
from training.engine.hardware.memory_errors import is_out_of_memory
from training.engine.hardware.precision import Precision
from training.engine.spec import ALL_LINEAR, TrainingOptions, TrainingSpec

ADAPTER_FILE = "adapter_model.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class BaseModelError(Exception):
    """The base model can't be loaded. The text, which the tenant sees, names no folder of this machine."""

    def __init__(self, reason: str) -> None:
        super().__init__(mask_folders(reason))


class AdapterOptionsError(Exception):
    """The model can't have the adapter that was requested. The text is peft's reason."""


def load_base(folder: Path, dtype: str) -> Any:
    """Return a model loaded from a folder, never from a network. Raises BaseModelError."""
    disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype], local_files_only=True)
    except Exception as error:
        raise BaseModelError(f"{type(error).__name__}: {error}") from error
    model.config.use_cache = False
    return model


def move_model(model: Any, device: torch.device) -> None:
    """Move a loaded model to a device. Raises BaseModelError if the device lacks the memory."""
    try:
        model.to(device)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise BaseModelError(str(error)) from error


def prepare_model(spec: TrainingSpec, precision: Precision) -> Any:
    """Return the model of a run, with new trainable weights drawn from its seed.

    Raises BaseModelError, AdapterOptionsError.
    """
    model = load_base(Path(spec.base_model), precision.weights)
    if spec.options.adapter == "full":
        return model
    torch.manual_seed(spec.seed)
    try:
        model = get_peft_model(model, lora_config(spec.options), autocast_adapter_dtype=True)
    except ValueError as error:
        raise AdapterOptionsError(str(error)) from error
    fused_modules = sorted(model.peft_config["default"].target_parameters or ())
    if spec.is_served and fused_modules:
        raise AdapterOptionsError(f"inference engines don't load adapters of {', '.join(fused_modules)}.")
    return model


def lora_config(options: TrainingOptions) -> LoraConfig:
    """Return peft's configuration of the adapter."""
    modules = options.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha or 2 * options.rank,
        lora_dropout=options.dropout,
        target_modules=ALL_LINEAR if ALL_LINEAR in modules else list(modules),
        use_dora=options.adapter == "dora",
        bias="none",
    )


def is_adapter(model: Any) -> bool:
    """True if an adapter is trained, not the model's own weights."""
    return hasattr(model, "peft_config")


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights that a checkpoint holds, by their name in it."""
    if is_adapter(model):
        return dict(get_peft_model_state_dict(model))
    tied_names = set(getattr(model, "all_tied_weights_keys", {}) or {})
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied_names}


def restore_weights(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Set the trained weights. Raises ValueError if names or shapes differ."""
    current_weights = trained_weights(model)
    if {n: t.shape for n, t in current_weights.items()} != {n: t.shape for n, t in weights.items()}:
        raise ValueError("the checkpoint's weights are not those of this configuration")
    if is_adapter(model):
        set_peft_model_state_dict(model, weights)
    else:
        model.load_state_dict(weights, strict=False)


def write_model(model: Any, folder: Path) -> None:
    """Write the trained weights with their configuration, as peft or transformers load them.

    Raises OSError or SafetensorError.
    """
    if not is_adapter(model):
        model.save_pretrained(folder)
        return
    write_tensors(folder / ADAPTER_FILE, trained_weights(model))
    config = copy(model.peft_config["default"])
    config.inference_mode = True
    config.base_model_name_or_path = Path(config.base_model_name_or_path).name  # no path of this host
    config.save_pretrained(folder)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that ``write_model`` wrote. Raises OSError or SafetensorError."""
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= read_tensors(path)
    return weights


def non_finite_weights(model: Any) -> Iterator[str]:
    """Yield the names of trained weights that hold a NaN or an infinity."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
            yield name
