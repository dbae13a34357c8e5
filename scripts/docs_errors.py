"""Generate docs/errors.md from the error catalogue. ``--check`` verifies that it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from api.openai.errors.base import ApiError  # noqa: E402 - needs the path above
from api.openai.errors.catalogue import CATALOGUE  # noqa: E402 - needs the path above
from scripts.generated import write_or_check  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
HEAD = """# Errors

Every error of the API, generated from `api/openai/errors` by `scripts/docs_errors.py`.

An error response has the body `{"error": {"message", "type", "param", "code"}}`. The `code` is stable, the
`message` describes the individual error, and `param` is the path of the invalid parameter or null. After a
stream has started, the same object is the data of the last event before `[DONE]`. Every 429 and 503 has a
`Retry-After` header, every 405 an `Allow`, and every 401 a `WWW-Authenticate`. Placeholders in braces stand
for details of the error.

| code | status | type | message | remedy |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    return HEAD + "".join(_row(error) for error in CATALOGUE.values())


def _row(error: type[ApiError]) -> str:
    cells = (f"`{error.code}`", str(error.status), f"`{error.error_type()}`", error.message_format, error.fix)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), sys.argv[1:]))
