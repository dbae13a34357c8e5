"""The error catalogue: every raised code is in it, every entry can be shown, and its page is current."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from api.openai.catalogue import CATALOGUE
from api.openai.errors import MAX_SHOWN, ApiError, shown

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
    assert all(f"| `{code}` | {spec.status} |" in page for code, spec in CATALOGUE.items())


@pytest.mark.criterion("4.2")
def test_every_code_that_is_raised_is_in_the_catalogue() -> None:
    raised = set()
    for file in [*ROOT.glob("api/**/*.py"), *ROOT.glob("tests/gateway/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError" and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    raised.add(code.value)
    assert len(raised) > 30
    assert raised <= set(CATALOGUE)


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_error_can_be_shown_in_openais_format(code: str) -> None:
    error = ApiError(code, param="messages[0]", **DETAILS)
    body = json.loads(error.body())["error"]
    assert list(body) == ["message", "type", "param", "code"]
    assert body["code"] == code
    assert body["type"] == ("server_error" if error.status >= 500 else "invalid_request_error")
    assert "{" not in body["message"]
    assert CATALOGUE[code].fix.endswith(".")
    assert ("retry-after" in error.headers) == (error.status == 503)


def test_what_a_client_sent_is_shown_bounded_and_on_one_line() -> None:
    assert shown("a\r\nb\x1b[31m") == "a��b�[31m"
    assert len(shown("x" * 10_000)) == MAX_SHOWN + 1
