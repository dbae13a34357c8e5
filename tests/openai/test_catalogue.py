"""The error catalogue: every raised code is in it, every entry can be shown, and its page is current."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.openai.catalogue import CATALOGUE
from api.openai.errors import MAX_SHOWN, ApiError, printable

ROOT = Path(__file__).resolve().parents[2]
DETAILS: dict[str, Any] = {
    name: 1
    for name in re.findall(r"{(\w+)", " ".join(spec.message for spec in CATALOGUE.values()))
    if name != "param"
}


@pytest.mark.criterion("4.2")
def test_the_page_of_errors_is_current() -> None:
    done = subprocess.run([sys.executable, "scripts/docs_errors.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0
    page = (ROOT / "docs" / "errors.md").read_text()
    for code, spec in CATALOGUE.items():
        assert f"| `{code}` | {spec.status} | `{spec.type}` | {spec.message} | {spec.fix} |" in page


@dataclass(frozen=True)
class Written:
    """What a part of the code says: its texts, the codes that it raises, and how others are put together."""

    texts: frozenset[str]
    raised: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]

    def may_raise(self, code: str) -> bool:
        """Whether the code is written out somewhere, or can be put together where an error is raised."""
        return code in self.texts or any(pattern.fullmatch(code) for pattern in self.patterns)


def _written(*folders: str, leave_out: Collection[str] = ()) -> Written:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    trees = [ast.parse(file.read_text()) for file in files if str(file.relative_to(ROOT)) not in leave_out]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    codes = [
        node.args[0]
        for node in nodes
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError" and node.args
    ]
    return Written(
        frozenset(str(node.value) for node in nodes if isinstance(node, ast.Constant)),
        frozenset(str(code.value) for code in codes if isinstance(code, ast.Constant)),
        tuple(_pattern(code) for code in codes if isinstance(code, ast.JoinedStr)),
    )


def _pattern(text: ast.JoinedStr) -> re.Pattern[str]:
    parts = (
        re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-z_]+" for part in text.values
    )
    return re.compile("".join(parts))


# The first three define the entries, the last lists them for the OpenAPI document.
LISTS = (
    "api/openai/catalogue.py",
    "api/openai/error_spec.py",
    "api/openai/kept_errors.py",
    "api/gateway/document/operations.py",
)


@pytest.mark.criterion("4.2")
def test_every_code_that_is_raised_is_in_the_catalogue_and_every_entry_is_raised() -> None:
    code = _written("api", "cyllm_site", leave_out=LISTS)
    assert len(code.raised) > 40
    assert code.raised <= set(CATALOGUE)
    assert [entry for entry in CATALOGUE if not code.may_raise(entry)] == []
    for pattern in code.patterns:
        assert any(pattern.fullmatch(entry) for entry in CATALOGUE), pattern


def test_every_entry_is_named_in_some_test() -> None:
    tests = _written("tests", leave_out=("tests/openai/test_catalogue.py",))
    # tests/gateway/test_deadlines.py puts these together from the names of stages.
    staged = {f"{stage}_timeout" for stage in ("queue", "first_token", "inter_token", "total")}
    assert set(CATALOGUE) - tests.texts <= staged
    assert {"queue", "first_token", "inter_token", "total"} <= tests.texts


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_error_can_be_shown_in_openais_format(code: str) -> None:
    error = ApiError(code, param="messages[0]", **DETAILS)
    body = json.loads(error.body())["error"]
    assert list(body) == ["message", "type", "param", "code"]
    assert body["code"] == code
    types = {429: "requests", **dict.fromkeys((500, 502, 503, 504, 505), "server_error")}
    assert body["type"] == types.get(error.status, "invalid_request_error")
    assert "{" not in body["message"]
    assert CATALOGUE[code].fix.endswith(".")
    assert ("retry-after" in error.headers) == (error.status in (429, 503))


@pytest.mark.criterion("6.6")
def test_no_error_holds_markup() -> None:
    error = ApiError("unknown_parameter", param="<script>alert(1)</script>")
    assert not set(b"<>") & set(error.body())
    assert json.loads(error.body())["error"]["param"] == "<script>alert(1)</script>"


def test_what_a_client_sent_is_shown_bounded_and_on_one_line() -> None:
    assert printable("a\r\nb\x1b[31m") == "a��b�[31m"
    assert len(printable("x" * 10_000)) == MAX_SHOWN + 1
