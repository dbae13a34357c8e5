"""Generate docs/openapi.json from the code. ``--check`` verifies that it is up to date."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.generated import write_or_check  # noqa: E402 - needs the path above

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cyllm_site.settings.check")

PAGE = ROOT / "docs" / "openapi.json"


def page() -> str:
    """Return the text of the document."""
    django.setup()
    from api.gateway.document.openapi import openapi_document
    from api.gateway.urls import URLS

    return json.dumps(openapi_document(URLS.routes), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), sys.argv[1:]))
