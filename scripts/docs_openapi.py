"""Writes docs/openapi.json from the code; ``--check`` only tells whether it is current."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.generated import write_or_check  # noqa: E402 - the repository's root has to be on the path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cyllm_site.settings.check")

PAGE = ROOT / "docs" / "openapi.json"


def page() -> str:
    """The text of the document."""
    django.setup()
    from api.gateway.app import ROUTES
    from api.gateway.document.openapi import openapi_document

    return json.dumps(openapi_document(ROUTES.routes), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), sys.argv[1:]))
