"""Comparison of our DPO with TRL's DPOTrainer: ``python -m benchmarks.training.preference [MODEL]``.

Both train the same adapter on the same pairs in the same order, by default on a tiny model. Prints the losses
side by side; the exit status is 1 if they differ by more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from benchmarks.training.dataset import chat
from benchmarks.training.sides import call_trl
from tests.models import tiny_folder
from tests.training.engine.runs import run_here
from training.datasets.tokens.packing import epoch_order
from training.datasets.tokens.preparation import prepare
from training.datasets.tokens.samples import SamplePair
from training.datasets.tokens.tokenizer import load_tokenizer
from training.engine.spec import TrainingOptions, TrainingSpec

PAIRS, BATCH, SEED, BETA, LEARNING_RATE = 12, 4, 0, 0.1, 5e-3
TOLERANCE = 1e-4
LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}


def write_pairs(path: Path) -> None:
    """Write pairs of answers to generated questions."""
    source = random.Random(SEED)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(PAIRS):
            *question, chosen = chat(source)
            rejected = chat(source)[-1]
            pair = {
                "input": {"messages": question},
                "preferred_output": [chosen],
                "non_preferred_output": [rejected],
            }
            file.write(json.dumps(pair) + "\n")


def _tokens(pair: SamplePair) -> dict[str, list[int]]:
    chosen, rejected = list(pair.chosen.input_ids), list(pair.rejected.input_ids)
    return {
        "prompt_ids": chosen[: pair.prompt_length],
        "chosen_ids": _answer(chosen, pair.chosen.loss_mask, pair.prompt_length),
        "rejected_ids": _answer(rejected, pair.rejected.loss_mask, pair.prompt_length),
    }


def _answer(ids: list[int], loss_mask: bytearray, start: int) -> list[int]:
    """Return the trained tokens after the prompt; TRL would train what the template adds after them."""
    return ids[start : loss_mask.rindex(1) + 1]


def _ours(spec: TrainingSpec) -> list[float]:
    return list(run_here(spec).losses.values())


def _trl(spec: TrainingSpec, folder: Path) -> list[float]:
    tokenizer = load_tokenizer(Path(spec.base_model))
    cache = prepare(Path(spec.training_file), folder / "cache", tokenizer, method="dpo")
    request = {
        "method": "dpo",
        "model": spec.base_model,
        "examples": [_tokens(cache.pair(index)) for index in epoch_order(SEED, 0, len(cache))],
        "settings": {
            "beta": BETA,
            "bf16": False,
            "gradient_checkpointing": False,
            "per_device_train_batch_size": BATCH,
        },
        "learning_rate": LEARNING_RATE,
        "seed": SEED,
        "lora": LORA,
    }
    return list(call_trl(request, folder, threads=1)["losses"])


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.preference", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="folder of the base model, else a tiny one")
    model = parser.parse_args().model or tiny_folder()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder / "pairs.jsonl")
        spec = TrainingSpec(
            job_id="benchmark",
            attempt=1,
            base_model=str(model.resolve()),
            training_file=str(folder / "pairs.jsonl"),
            validation_file=None,
            work_dir=str(folder / "work"),
            seed=SEED,
            epochs=1,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            method="dpo",
            dpo_beta=BETA,
            options=TrainingOptions(alpha=16),
        )
        ours, trl = _ours(spec), _trl(spec, folder)
    print("| step | ours | TRL |\n|---|---|---|")
    for number, (our_loss, trl_loss) in enumerate(zip(ours, trl, strict=True)):
        print(f"| {number + 1} | {our_loss:.6f} | {trl_loss:.6f} |")
    difference = max(abs(our_loss - trl_loss) for our_loss, trl_loss in zip(ours, trl, strict=True))
    print(f"\nlargest difference: {difference:.1e}")
    return int(difference > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
