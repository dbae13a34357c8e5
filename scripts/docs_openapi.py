"""Writes docs/openapi.json from the code; ``--check`` only tells whether it is current."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cyllm_site.settings.check")

PAGE = ROOT / "docs" / "openapi.json"


def page() -> str:
    """The text of the document."""
    django.setup()
    from api.gateway.app import ROUTES
    from api.gateway.openapi import openapi_document

    return json.dumps(openapi_document(ROUTES.routes), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check; the exit status is 1 if the document is out of date."""
    if arguments == ["--check"]:
        current = PAGE.is_file() and PAGE.read_text() == page()
        if not current:
            print("docs/openapi.json is out of date: run scripts/docs_openapi.py", file=sys.stderr)
        return 0 if current else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
