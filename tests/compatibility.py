"""Which test shows that a parameter of an endpoint is honoured, or that it is refused by name.

``@pytest.mark.honours("chat", "seed", "temperature")`` and ``@pytest.mark.refuses("chat", "audio")``;
``scripts/docs_compatibility.py`` makes the page in the docs from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

MARKS = ("honours", "refuses")
ENDPOINTS = ("chat", "completions", "embeddings", "responses", "tokenize", "detokenize")

Shown: TypeAlias = tuple[str, str, str]  # a mark, an endpoint, a parameter


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--shown-parameters", metavar="FILE", help="write which test shows which parameter")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the marks in every run; write what they say, one entry for all cases of a test, when asked to."""
    found = {(*shown, item.nodeid.partition("[")[0]) for item in session.items for shown in _shown_by(item)}
    if file := session.config.getoption("shown_parameters"):
        Path(file).write_text(json.dumps(sorted(found)))


def _shown_by(item: pytest.Item) -> Iterator[Shown]:
    for mark in MARKS:
        for found in item.iter_markers(mark):
            endpoint, *parameters = found.args
            if endpoint not in ENDPOINTS or not parameters:
                raise pytest.UsageError(
                    f"{item.nodeid}: {mark} takes one of {ENDPOINTS} and parameters, not {found.args}"
                )
            yield from ((mark, endpoint, parameter) for parameter in parameters)
