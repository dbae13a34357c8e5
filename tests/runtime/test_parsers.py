"""Which parsers there are, and which streams they leave as they are: asked of vLLM itself, in its process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from inference_worker.runtime.calls.engine import EngineStartError
from inference_worker.runtime.engines.parsers import check_parsers, short_ways
from inference_worker.runtime.settings import WorkerSettings
from vllm.parser.parser_manager import ParserManager

said = {}
for tool, reasoning in json.loads(sys.argv[1]):
    settings = WorkerSettings(
        CYLLM_REDIS_URL="redis://localhost/0", model="m", tool_parser=tool, reasoning_parser=reasoning
    )
    try:
        check_parsers(settings)
        found = ParserManager.get_parser(tool or None, reasoning or None, enable_auto_tools=bool(tool))
        said[tool + "+" + reasoning] = {k.value: v.value for k, v in short_ways(found).items()}
    except EngineStartError as error:
        said[tool + "+" + reasoning] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, str] | str]:
    """By tool and reasoning parser: where the short way is open, or why a worker doesn't start."""
    pairs = [("", ""), ("hermes", ""), ("", "qwen3"), ("hermes", "qwen3"), ("qwen3_coder", "")]
    pairs += [("hermess", ""), ("", "deepseek")]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(pairs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.criterion("4.4")
def test_an_unknown_parser_is_refused_at_the_start_with_those_that_there_are(
    said: dict[str, dict[str, str] | str],
) -> None:
    tools, reasoning = said["hermess+"], said["+deepseek"]
    assert isinstance(tools, str)
    assert tools.startswith("CYLLM_WORKER_TOOL_PARSER: vLLM has no parser hermess; it has ")
    assert ", hermes, " in tools
    assert isinstance(reasoning, str)
    assert reasoning.startswith("CYLLM_WORKER_REASONING_PARSER: vLLM has no parser deepseek; it has ")
    assert "deepseek_r1" in reasoning


def test_plain_streams_keep_the_short_way_where_no_parser_touches_them(
    said: dict[str, dict[str, str] | str],
) -> None:
    completions = {"completions": "sent"}
    assert said["+"] == {**completions, "chat.completions": "sent"}
    assert said["hermes+"] == {**completions, "chat.completions": "left out"}
    assert said["+qwen3"] == said["hermes+qwen3"] == completions
    assert said["qwen3_coder+"] == completions
