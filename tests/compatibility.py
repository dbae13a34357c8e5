"""Marks for tests that show a parameter of an endpoint to be honoured, or to be rejected by name.

``@pytest.mark.honours("chat", "seed", "temperature")`` and ``@pytest.mark.refuses("chat", "audio")``;
``scripts/docs_compatibility.py`` generates docs/compatibility.md from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

MARKS = ("honours", "refuses")
ENDPOINTS = (
    "chat",
    "completions",
    "embeddings",
    "responses",
    "tokenize",
    "detokenize",
    "files",
    "fine_tuning",
)

Claim: TypeAlias = tuple[str, str, str]  # a mark, an endpoint, a parameter


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--parameter-tests", metavar="FILE", help="write the tests of each parameter to FILE")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the marks. With the option, write them too, one entry for all parameter sets of a test."""
    entries = {(*claim, item.nodeid.partition("[")[0]) for item in session.items for claim in _claims(item)}
    if file := session.config.getoption("parameter_tests"):
        Path(file).write_text(json.dumps(sorted(entries)))


def _claims(item: pytest.Item) -> Iterator[Claim]:
    for name in MARKS:
        for mark in item.iter_markers(name):
            endpoint, *parameters = mark.args
            if endpoint not in ENDPOINTS or not parameters:
                raise pytest.UsageError(
                    f"{item.nodeid}: {name} takes one of {ENDPOINTS} and parameters, not {mark.args}"
                )
            yield from ((name, endpoint, parameter) for parameter in parameters)
