"""Commands start within about a second of processor time: they load no library that they don't need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# These alone take from half a second to several seconds to load.
LARGE = {
    "torch",
    "transformers",
    "tokenizers",
    "vllm",
    "peft",
    "numpy",
    "pyarrow",
    "scipy",
}
PROGRAM = """
import json, sys
from manage import main
try:
    main()
except SystemExit:
    pass
print("\\0" + json.dumps(sorted(sys.modules)))
"""

LOG_LEVEL = """
import logging
from manage import main
try:
    main()
except SystemExit:
    pass
print("\\0" + logging.getLevelName(logging.getLogger("cyllm.training").getEffectiveLevel()))
"""


@pytest.mark.case("admin.22")
@pytest.mark.parametrize("command", ["keys", "usage", "jobs"])
def test_a_command_loads_no_large_library(command: str) -> None:
    arguments = [sys.executable, "-c", PROGRAM, command, "--help"]
    process = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    text, _, names = process.stdout.partition("\0")
    modules = json.loads(names)
    assert text.startswith("usage: ")
    assert sorted(LARGE.intersection(modules)) == []
    assert len(modules) < 2500  # a second's worth


@pytest.mark.parametrize(("environ", "level"), [({}, "WARNING"), ({"CYLLM_LOG_LEVEL": "DEBUG"}, "DEBUG")])
def test_a_command_adds_no_log_lines_to_its_outcome(environ: dict[str, str], level: str) -> None:
    own_environ = {name: value for name, value in os.environ.items() if name != "CYLLM_LOG_LEVEL"}
    process = subprocess.run(
        [sys.executable, "-c", LOG_LEVEL, "jobs", "--help"],
        cwd=ROOT,
        env={**own_environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.partition("\0")[2].strip() == level
