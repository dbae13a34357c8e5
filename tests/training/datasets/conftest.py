"""Model folders and files for the tests of datasets."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.training.datasets.families import FAMILIES, make_model
from training.datasets.tokens.tokenizer import ModelTokenizer, load_tokenizer

Load = Callable[[str], ModelTokenizer]
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def load_family(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Load the tokenizer of a family by name."""

    @cache
    def load(name: str) -> ModelTokenizer:
        return load_tokenizer(make_model(FAMILIES[name], tmp_path_factory.mktemp(name)))

    return load


@pytest.fixture
def write_lines(tmp_path: Path) -> Write:
    """Write objects as JSON Lines."""

    def write(*values: object, name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
        return path

    return write
