"""TRL's environment, which later runs reuse. TRL is never installed beside the platform."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.bootstrap import ROOT, STAMP, BootstrapError, Step, create_venv, fingerprint, read_stamp, run_pip

REQUIREMENTS = "requirements/bench.txt"
VENV = ROOT / ".cyllm" / "bench-trl"


def trl_python() -> Path:
    """Return TRL's Python interpreter; install the environment anew if its pins have changed."""
    digests = fingerprint([REQUIREMENTS])
    if read_stamp(VENV) != digests:
        VENV.parent.mkdir(exist_ok=True)
        create_venv(VENV)
        try:
            run_pip(VENV, Step((REQUIREMENTS,), dependencies=False), VENV / "install.log")
        except BootstrapError as error:
            raise SystemExit(str(error)) from error
        (VENV / STAMP).write_text(json.dumps({"files": digests}), encoding="utf-8")
    return VENV / "bin" / "python"
