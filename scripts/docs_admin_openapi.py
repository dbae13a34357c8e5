"""Generate docs/admin-openapi.json from the code. ``--check`` verifies that it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.generated import write_or_check_document  # noqa: E402 - needs the path above

FILE = ROOT / "docs" / "admin-openapi.json"


def document() -> object:
    """Return the document."""
    from api.admin_api.views.document import admin_document

    return admin_document()


if __name__ == "__main__":
    sys.exit(write_or_check_document(FILE, document, sys.argv[1:]))
