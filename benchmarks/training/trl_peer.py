"""A run of TRL's SFTTrainer or DPOTrainer in TRL's environment.

``python -m benchmarks.training.trl_peer REQUEST``. The request is a JSON file: ``method``, ``model``,
``examples`` (``input_ids`` and ``labels``, or for DPO ``prompt_ids``, ``chosen_ids`` and
``rejected_ids``, in the order of training), ``settings`` (arguments of SFTConfig or DPOConfig beyond
their defaults), ``learning_rate``, ``seed`` and ``lora``. The last line of standard output is the result:
losses, time from the start of the first step to the end of the last, processor time, and peak memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Records the end of each step and its loss."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []  # wall clock and processor time
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])


class TokenisedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """A DPOTrainer for pairs that are token ids already."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


TRAINERS = {"supervised": (SFTConfig, SFTTrainer), "dpo": (DPOConfig, TokenisedDPOTrainer)}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Train and return the result."""
    torch.manual_seed(request["seed"])
    model = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32)
    torch.manual_seed(request["seed"])
    model = get_peft_model(model, LoraConfig(**request["lora"]))
    recorder = Recorder()
    config, kind = TRAINERS[request.get("method", "supervised")]
    with tempfile.TemporaryDirectory() as folder:
        arguments = config(
            output_dir=folder,
            num_train_epochs=1,
            learning_rate=request["learning_rate"],
            seed=request["seed"],
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **request["settings"],
        )
        trainer = kind(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(request["examples"]),
            processing_class=AutoTokenizer.from_pretrained(request["model"]),
            callbacks=[recorder],
        )
        trainer.train()
    (start, cpu_start), (end, cpu_end) = recorder.times[0], recorder.times[-1]
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    return {
        "losses": recorder.losses,
        "seconds": end - start,
        "cpu_s": cpu_end - cpu_start,
        "peak_bytes": peak,
    }


if __name__ == "__main__":
    print(json.dumps(run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
