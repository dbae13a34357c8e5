"""Writes docs/errors.md from the error catalogue; ``--check`` only tells whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from api.openai.errors.base import ApiError  # noqa: E402 - the repository's root has to be on the path
from api.openai.errors.catalogue import CATALOGUE  # noqa: E402 - the repository's root has to be on the path
from scripts.generated import write_or_check  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
HEAD = """# Errors

Every error of the API, generated from `api/openai/errors` by `scripts/docs_errors.py`.

An answer that is no success has the body `{"error": {"message", "type", "param", "code"}}`. The `code` is
stable; the message names the single case; `param` is the path of the parameter concerned, or null. In a
stream that has begun, the same object is the data of the last event before `[DONE]`. Every 429
and 503 has a `Retry-After` header, every 405 an `Allow`, every 401 a `WWW-Authenticate`. Words in braces
stand for the details of the case.

| code | status | type | message | what to do |
|---|---|---|---|---|
"""


def page() -> str:
    """The text of the page."""
    return HEAD + "".join(_row(error) for error in CATALOGUE.values())


def _row(error: type[ApiError]) -> str:
    cells = (f"`{error.code}`", str(error.status), f"`{error.error_type()}`", error.message_format, error.fix)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), sys.argv[1:]))
