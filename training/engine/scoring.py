"""Log-probs of token sequences under a base model and an adapter, for comparison with an inference engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from training.engine.hardware.device import thread_count
from training.engine.models.logits import selected_logits
from training.engine.models.weights import load_base
from training.engine.spec import Scores, ScoringSpec, TokenSequence

ADAPTER_CONFIG = "adapter_config.json"


def score(spec: ScoringSpec) -> Scores:
    """Return the log-probs of the completions' tokens, computed in float32.

    ``adapter_dir`` may hold a whole model instead of an adapter. Raises BaseModelError; peft's errors if the
    adapter can't be loaded.
    """
    torch.set_num_threads(spec.threads or thread_count())
    base = _on_device(load_base(Path(spec.base_model), "float32"))
    base_scores = tuple(_log_probs(base, sequence) for sequence in spec.sequences)
    if (Path(spec.adapter_dir) / ADAPTER_CONFIG).is_file():
        tuned_model = PeftModel.from_pretrained(base, spec.adapter_dir).eval()
    else:
        del base
        tuned_model = _on_device(load_base(Path(spec.adapter_dir), "float32"))
    return Scores(
        base=base_scores, adapter=tuple(_log_probs(tuned_model, sequence) for sequence in spec.sequences)
    )


def _on_device(model: Any) -> Any:
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


@torch.no_grad()  # type: ignore[untyped-decorator]
def _log_probs(model: Any, sequence: TokenSequence) -> tuple[float, ...]:
    ids = torch.tensor([[*sequence.prompt, *sequence.completion]], device=model.device)
    start, count = len(sequence.prompt), len(sequence.completion)
    if not count:
        return ()
    positions = torch.arange(start - 1, start - 1 + count, device=model.device)
    logits = selected_logits(model, {"input_ids": ids}, positions)
    log_probs = logits.float().log_softmax(-1).gather(1, ids[0, start:, None])
    return tuple(log_probs[:, 0].tolist())
