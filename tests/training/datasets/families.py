"""Model folders of well-known families: their chat templates and special tokens on SmolLM2's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, Tokenizer

from tests.models import smollm2_folder

TEMPLATES = Path(__file__).parent / "templates"
CHATML = ("<|im_start|>", "<|im_end|>")


class Family(NamedTuple):
    """A family. ``stops``: its stop tokens, that of the tokenizer first. ``before``, ``after``: its spaces.

    ``tokens``: special tokens that are added. ``words``: tokens that are not special, such as ``<think>``.
    ``samples``: sequences that a conversation of two answers becomes.
    """

    name: str
    stops: tuple[str, ...]
    tokens: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    bos: str | None = None
    has_system: bool = True
    before: str = ""
    after: str = ""
    samples: int = 1


FAMILIES = {
    family.name: family
    for family in (
        Family("qwen25", ("<|im_end|>", "<|endoftext|>"), CHATML, ("<tool_call>", "</tool_call>")),
        Family("qwen3", ("<|im_end|>", "<|endoftext|>"), CHATML, ("<think>", "</think>"), samples=2),
        Family("llama2", ("</s>",), ("<s>",), bos="<s>", before=" ", after=" "),
        Family(
            "llama3",
            ("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
            ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
            bos="<|begin_of_text|>",
        ),
        Family("mistral", ("</s>",), ("<s>", "[INST]", "[/INST]"), bos="<s>", before=" ", samples=2),
        Family(
            "gemma",
            ("<eos>", "<end_of_turn>"),
            ("<bos>", "<start_of_turn>"),
            bos="<bos>",
            has_system=False,
        ),
        Family(
            "phi3",
            ("<|endoftext|>", "<|end|>", "<|assistant|>"),
            ("<|system|>", "<|user|>"),
        ),
        Family(
            "deepseek_r1",
            ("<｜end▁of▁sentence｜>",),
            ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
            ("<think>", "</think>"),
            bos="<｜begin▁of▁sentence｜>",
            samples=2,
        ),
        Family("zephyr", ("</s>",), ("<s>",), bos="<s>"),
        Family(
            "command_r",
            ("<|END_OF_TURN_TOKEN|>",),
            (
                "<BOS_TOKEN>",
                "<|START_OF_TURN_TOKEN|>",
                "<|USER_TOKEN|>",
                "<|CHATBOT_TOKEN|>",
                "<|SYSTEM_TOKEN|>",
            ),
            bos="<BOS_TOKEN>",
        ),
        Family("granite", ("<|end_of_text|>",), ("<|start_of_role|>", "<|end_of_role|>")),
        Family("marked", ("<|im_end|>",), CHATML),
    )
}


def make_model(family: Family, folder: Path) -> Path:
    """Write the tokenizer, template and configurations of a family."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(smollm2_folder() / "tokenizer.json"))
    names = (*family.tokens, *family.stops)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in family.words])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "TokenizersBackend",
        "backend": "tokenizers",
        "eos_token": family.stops[0],
        "pad_token": family.stops[0],
    }
    if family.bos is not None:
        config["bos_token"] = family.bos
    template = (TEMPLATES / f"{family.name}.jinja").read_text(encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(template.rstrip("\n"), encoding="utf-8")
    ids = [tokenizer.token_to_id(stop) for stop in family.stops]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "max_position_embeddings": 2048, **sizes})
    )
    return folder
