"""A worker's log records are masked, on one line, and have the correlation id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from inference_worker.protocol.messages import Operation, Submit
from inference_worker.runtime.calls.engine_call import EngineCall
from inference_worker.runtime.calls.fast_path import EmptyChunks
from inference_worker.telemetry.correlation import correlation_id

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import logging
from inference_worker.runtime.process.logs import configure_logging
from inference_worker.runtime.settings import WorkerSettings
configure_logging(WorkerSettings())
logging.getLogger("cyllm.worker").info("no engine at http://u:hunter2@engine:1/\\nforged")
logging.getLogger("library").info("not of interest")
logging.getLogger("library").warning("Bearer abc")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_records_are_masked_and_libraries_log_only_warnings(form: str) -> None:
    environment = {
        **os.environ,
        "CYLLM_WORKER_MODEL": "m",
        "CYLLM_WORKER_ID": "w-7",
        "CYLLM_LOG_FORMAT": form,
    }
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    own_line, library_line = process.stderr.splitlines()
    assert "http://[masked]@engine:1/" in own_line
    assert "[masked]" in library_line
    assert "hunter2" not in process.stderr
    if form == "json":
        assert [json.loads(line)["worker"] for line in (own_line, library_line)] == ["w-7", "w-7"]


async def test_an_engine_runs_with_the_correlation_id_of_its_request() -> None:
    ids: list[str] = []

    class Engine:
        """Respond at once and record the correlation id."""

        fast_paths: Mapping[Operation, EmptyChunks] = {}
        is_dead = False
        max_model_len = 16
        description = "test"

        async def app(self, _scope: Any, _receive: Any, send: Any) -> None:
            ids.append(correlation_id.get())
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    submit = Submit(
        request_id="req_1",
        attempt=1,
        reply_to="g",
        operation=Operation.COMPLETIONS,
        model="m",
        streamed=False,
        body=b"{}",
        correlation_id="trace-7",
        budget_s=5.0,
    )
    await EngineCall(submit, Engine(), lambda _event: None).run()  # type: ignore[arg-type]  # the part it uses
    assert ids == ["trace-7"]
