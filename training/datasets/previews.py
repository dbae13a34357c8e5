"""Previews of the first examples of a file: their text in pieces that are trained or not."""

from __future__ import annotations

import contextlib
from itertools import groupby
from pathlib import Path

from training.datasets.examples import ChatExample, Example
from training.datasets.faults import Fault
from training.datasets.report import Piece, SampleText
from training.datasets.structure import check_structure
from training.datasets.tokens.answers import ExampleError
from training.datasets.tokens.masks import chat_samples, pair_samples
from training.datasets.tokens.samples import Sample
from training.datasets.tokens.tokenizer import ModelTokenizer

MAX_TOKENS = 2000  # per sample


class _EnoughError(Exception):
    """The samples are complete."""


def sample_texts(path: Path, tokenizer: ModelTokenizer, count: int) -> list[SampleText]:
    """Return the samples of the first ``count`` valid examples. Raises ModelError, OSError."""
    texts: list[SampleText] = []
    lines: set[int] = set()

    def visit(example: Example) -> Fault | None:
        if len(lines) == count:
            raise _EnoughError
        try:
            texts.extend(_texts(tokenizer, example))
        except ExampleError as error:
            return error.fault
        lines.add(example.line)
        return None

    with contextlib.suppress(_EnoughError):
        check_structure(path, visit=visit)
    return texts


def _texts(tokenizer: ModelTokenizer, example: Example) -> list[SampleText]:
    if isinstance(example, ChatExample):
        return [_text(tokenizer, sample) for sample in chat_samples(tokenizer, example)]
    pair = pair_samples(tokenizer, example)
    return [_text(tokenizer, pair.chosen, "chosen"), _text(tokenizer, pair.rejected, "rejected")]


def _text(tokenizer: ModelTokenizer, sample: Sample, role: str = "") -> SampleText:
    tokens = list(zip(sample.input_ids, sample.loss_mask, strict=True))[:MAX_TOKENS]
    pieces = tuple(
        Piece(tokenizer.decode([token for token, _ in run]), bool(flag))
        for flag, run in groupby(tokens, key=lambda pair: pair[1])
    )
    return SampleText(sample.line, len(sample.input_ids), sum(sample.loss_mask), pieces, role)
