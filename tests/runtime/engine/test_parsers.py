"""vLLM's parsers and their effect on plain streams, tested with vLLM in a process of its own."""

from __future__ import annotations

import json

import pytest

from tests.vllm_programs import VllmPrograms

PROGRAM = """
import json, sys
from inference_worker.runtime.calls.engine import EngineFailedError
from inference_worker.runtime.engines.parsers import check_parsers, fast_paths
from inference_worker.runtime.settings import WorkerSettings
from vllm.parser.parser_manager import ParserManager

results = {}
for tool, reasoning in json.loads(sys.argv[1]):
    settings = WorkerSettings(
        CYLLM_REDIS_URL="redis://localhost/0", model="m", tool_parser=tool, reasoning_parser=reasoning
    )
    try:
        check_parsers(settings)
        parser_cls = ParserManager.get_parser(tool or None, reasoning or None, enable_auto_tools=bool(tool))
        results[tool + "+" + reasoning] = {k.value: v.value for k, v in fast_paths(parser_cls).items()}
    except EngineFailedError as error:
        results[tool + "+" + reasoning] = str(error)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(vllm_programs: VllmPrograms) -> dict[str, dict[str, str] | str]:
    """Return the fast paths, or the error at the start, by tool and reasoning parser."""
    pairs = [("", ""), ("hermes", ""), ("", "qwen3"), ("hermes", "qwen3"), ("qwen3_coder", "")]
    pairs += [("hermess", ""), ("", "deepseek")]
    output = vllm_programs.run(PROGRAM, json.dumps(pairs))
    return dict(json.loads(output.splitlines()[-1]))


@pytest.mark.criterion("4.4")
def test_an_unknown_parser_is_rejected_at_the_start_with_a_list_of_the_known_ones(
    results: dict[str, dict[str, str] | str],
) -> None:
    tools, reasoning = results["hermess+"], results["+deepseek"]
    assert isinstance(tools, str)
    assert tools.startswith("CYLLM_WORKER_TOOL_PARSER: vLLM has no parser hermess; it has ")
    assert ", hermes, " in tools
    assert isinstance(reasoning, str)
    assert reasoning.startswith("CYLLM_WORKER_REASONING_PARSER: vLLM has no parser deepseek; it has ")
    assert "deepseek_r1" in reasoning


def test_plain_streams_take_the_fast_path_where_no_parser_changes_them(
    results: dict[str, dict[str, str] | str],
) -> None:
    completions = {"completions": "sent"}
    assert results["+"] == {**completions, "chat.completions": "sent"}
    assert results["hermes+"] == {**completions, "chat.completions": "omitted"}
    assert results["+qwen3"] == results["hermes+qwen3"] == completions
    assert results["qwen3_coder+"] == completions
