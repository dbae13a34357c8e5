"""Write generated documentation, or check that it is up to date."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import django


def write_or_check(file: Path, text: str, arguments: list[str]) -> int:
    """Write the file, or only compare it if ``--check`` is given; return the exit status."""
    if arguments != ["--check"]:
        file.write_text(text, encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return 0
    print(f"docs/{file.name} is out of date: run {sys.argv[0]}", file=sys.stderr)
    return 1


def write_or_check_document(file: Path, document: Callable[[], object], arguments: list[str]) -> int:
    """Write or compare a JSON document, which ``document`` builds once Django is set up."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cyllm_site.settings.check")
    django.setup()
    text = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    return write_or_check(file, text, arguments)
