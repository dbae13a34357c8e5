"""Writes docs/errors.md from the error catalogue; ``--check`` only tells whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from api.openai.catalogue import CATALOGUE  # noqa: E402 - the repository's root has to be on the path
from api.openai.error_spec import ErrorSpec  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
HEAD = """# Errors

Every error of the API, generated from `api/openai/catalogue.py` by `scripts/docs_errors.py`.

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
    return HEAD + "".join(_row(spec) for spec in CATALOGUE.values())


def _row(spec: ErrorSpec) -> str:
    cells = (f"`{spec.code}`", str(spec.status), f"`{spec.type}`", spec.message, spec.fix)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main(arguments: list[str]) -> int:
    """Write or check; the exit status is 1 if the page is out of date."""
    if arguments == ["--check"]:
        current = PAGE.is_file() and PAGE.read_text() == page()
        if not current:
            print("docs/errors.md is out of date: run scripts/docs_errors.py", file=sys.stderr)
        return 0 if current else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
