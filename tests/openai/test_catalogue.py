"""The error catalogue: every error is raised somewhere and has OpenAI's format, and its page is current."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from api.openai.errors.base import MAX_PRINTABLE_LENGTH, ApiError, printable
from api.openai.errors.catalogue import CATALOGUE
from api.openai.errors.parameters import UnknownParameter

ROOT = Path(__file__).resolve().parents[2]
# Folders that name every code: the declarations, and the lists for the OpenAPI document.
LISTS = ("api/openai/errors", "api/gateway/document")


def example(error: type[ApiError]) -> ApiError:
    """Return an error of this class with a value for each detail."""
    details: dict[str, Any] = {
        field.name: 1 for field in dataclasses.fields(error) if field.name not in ("param", "headers")
    }
    return error(param="messages[0]", **details)


@pytest.mark.criterion("4.2")
def test_the_page_of_errors_is_current() -> None:
    script = subprocess.run([sys.executable, "scripts/docs_errors.py", "--check"], cwd=ROOT, check=False)
    assert script.returncode == 0
    page = (ROOT / "docs" / "errors.md").read_text()
    for code, error in CATALOGUE.items():
        row = f"| `{code}` | {error.status} | `{error.error_type()}` | {error.message_format} | {error.fix} |"
        assert row in page


def _nodes(*folders: str, exclude: Collection[str] = ()) -> list[ast.AST]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    paths = [file for file in files if not str(file.relative_to(ROOT)).startswith(tuple(exclude))]
    return [node for file in paths for node in ast.walk(ast.parse(file.read_text()))]


@pytest.mark.criterion("4.2")
def test_every_error_of_the_catalogue_is_raised_somewhere() -> None:
    names = {node.id for node in _nodes("api", "cyllm_site", exclude=LISTS) if isinstance(node, ast.Name)}
    assert [code for code, error in CATALOGUE.items() if error.__name__ not in names] == []


def test_every_error_of_the_catalogue_occurs_in_a_test() -> None:
    nodes = _nodes("tests", exclude=("tests/openai/test_catalogue.py",))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    # tests/gateway/relay/test_deadlines.py composes these codes from the names of stages.
    stages = {"queue", "first_token", "inter_token", "total"}
    assert set(CATALOGUE) - texts <= {f"{stage}_timeout" for stage in stages}
    assert stages <= texts


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_error_has_openais_format(code: str) -> None:
    error = example(CATALOGUE[code])
    body = json.loads(error.body())["error"]
    assert list(body) == ["message", "type", "param", "code"]
    assert body["code"] == code
    types = {429: "requests", **dict.fromkeys((500, 501, 502, 503, 504, 505), "server_error")}
    own = "insufficient_quota" if code == "insufficient_quota" else None  # as in OpenAI's API
    assert body["type"] == (own or types.get(error.status, "invalid_request_error"))
    assert "{" not in body["message"]
    assert error.fix.endswith(".")
    assert ("retry-after" in error.headers) == (error.status in (429, 503))


def test_an_error_about_another_parameter_keeps_its_details() -> None:
    for error in map(example, CATALOGUE.values()):
        moved_error = error.at("input[0]")
        assert type(moved_error) is type(error)
        assert moved_error.param == "input[0]"
        assert moved_error.headers == error.headers
        assert moved_error.message == error.message.replace("messages[0]", "input[0]")


@pytest.mark.criterion("6.6")
def test_no_error_contains_markup() -> None:
    error = UnknownParameter(param="<script>alert(1)</script>")
    assert not set(b"<>") & set(error.body())
    assert json.loads(error.body())["error"]["param"] == "<script>alert(1)</script>"


def test_echoed_client_text_is_bounded_and_on_one_line() -> None:
    assert printable("a\r\nb\x1b[31m") == "a��b�[31m"
    assert len(printable("x" * 10_000)) == MAX_PRINTABLE_LENGTH + 1
