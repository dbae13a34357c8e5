"""Generate docs/openapi.json from the code. ``--check`` verifies that it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.generated import write_or_check_document  # noqa: E402 - needs the path above

FILE = ROOT / "docs" / "openapi.json"


def document() -> object:
    """Return the document."""
    from api.gateway.document.openapi import openapi_document
    from api.gateway.urls.table import URLS

    return openapi_document(URLS.routes)


if __name__ == "__main__":
    sys.exit(write_or_check_document(FILE, document, sys.argv[1:]))
