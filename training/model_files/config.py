"""The configuration of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_config(folder: Path) -> dict[str, Any]:
    """Return the values of config.json; for models that also read images, those of the text model come first.

    Raises OSError, ValueError.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("config.json is not a JSON object")
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config
