"""Environment and command line of vLLM for a worker's settings."""

from __future__ import annotations

import os
import shlex

from inference_worker.runtime.constraints.grammar_guard import BACKEND
from inference_worker.runtime.engines.hardware import EngineChoice, Hardware
from inference_worker.runtime.engines.parsers import parser_arguments
from inference_worker.runtime.settings import WorkerSettings


def prepare_environment(settings: WorkerSettings, hardware: Hardware) -> None:
    """Set environment variables for vLLM options without an argument, unless the operator has set them."""
    variables = {
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "INFO" if settings.log_level == "DEBUG" else "WARNING",
        # Its threads parallelize over texts, but each prompt is tokenized alone.
        "TOKENIZERS_PARALLELISM": "false",
    }
    if hardware.kind == "cpu":
        variables |= {
            # One process for core and executor halves the CPU time per token on a machine with few cores.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": str(settings.threads),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def engine_arguments(settings: WorkerSettings, hardware: Hardware, choice: EngineChoice) -> list[str]:
    """Return vLLM's arguments for these settings, the operator's own last."""
    arguments = [
        *("--model", str(settings.model_path), "--served-model-name", settings.model),
        *("--dtype", choice.dtype, "--max-num-seqs", str(settings.max_num_seqs)),
        *("--scheduling-policy", "priority"),
        "--enable-prompt-tokens-details",
        # By default, vLLM keeps the backend that it chose for the first constraint.
        *("--structured-outputs-config.backend", BACKEND),
        # Without a bound, small models generate white space until the token limit.
        *("--structured-outputs-config.disable_any_whitespace", "true"),
        "--disable-fastapi-docs",
    ]
    if settings.max_model_len:
        arguments += ["--max-model-len", str(settings.max_model_len)]
    if choice.eager:
        arguments.append("--enforce-eager")
    if hardware.kind == "cpu":
        arguments += ["--distributed-executor-backend", "uni"]
        # A prompt with a seed that is processed in two steps crashes vLLM 0.32: on CPUs, torch's generators
        # have no offset, which vLLM needs to discard the token after the first step.
        arguments.append("--no-enable-chunked-prefill")
        arguments += ["--kv-cache-memory-bytes", str(int(settings.kv_cache_gib * 2**30))]
    else:
        arguments += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    return arguments + parser_arguments(settings) + shlex.split(settings.engine_args)
