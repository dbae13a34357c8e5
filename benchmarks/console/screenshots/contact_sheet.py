"""A page with all pictures of a set, to look at them side by side."""

from __future__ import annotations

import html
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.console.screenshots.camera import Picture

HEAD = """<!doctype html><meta charset="utf-8"><title>Pages</title>
<style>body{font:14px sans-serif;margin:16px} section{display:flex;gap:8px;align-items:start;overflow-x:auto}
figure{margin:0} img{height:420px;border:1px solid #999;object-fit:cover;object-position:top} b{color:#b00}
</style>
"""


def write_sheet(pictures: Sequence[Picture], folder: Path) -> Path:
    """Write ``index.html``; pages that scroll sideways are marked."""
    rows = sorted(pictures, key=lambda each: (each.page, each.language, each.theme, each.width))
    sections = (_section(page, list(group)) for page, group in groupby(rows, key=lambda each: each.page))
    path = folder / "index.html"
    path.write_text(HEAD + "\n".join(sections), encoding="utf-8")
    return path


def _section(page: str, pictures: Sequence[Picture]) -> str:
    figures = "".join(_figure(picture) for picture in pictures)
    return f"<h2>{html.escape(page)}</h2><section>{figures}</section>"


def _figure(picture: Picture) -> str:
    mark = " <b>scrolls sideways</b>" if picture.is_too_wide else ""
    file = html.escape(picture.file)
    caption = f"{picture.language} {picture.theme} {picture.width}{mark}"
    image = f'<a href="{file}"><img loading="lazy" src="{file}" alt=""></a>'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
