"""``python -m deploy.local``: run the local stack in the foreground."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from deploy.local import environment
from deploy.local.demo.default_model import ModelError
from deploy.local.demo.smoke_test import SmokeTestError
from deploy.local.launch import Stack, display_path
from deploy.local.processes.lock import AlreadyRunningError, Lock
from deploy.local.processes.supervisor import ProgramFailedError
from deploy.local.processes.worker_heartbeat import RedisSilentError
from deploy.local.servers.accounts import AccountError
from deploy.local.servers.external_servers import ExternalServerError
from deploy.local.servers.ports import PortBusyError
from deploy.local.servers.postgres import PostgresError
from deploy.local.servers.schema import MigrationError
from deploy.local.settings import ROOT, LocalSettings

EXPECTED_ERRORS = (
    *(AccountError, SmokeTestError, ExternalServerError, MigrationError, ModelError),
    *(PortBusyError, PostgresError, ProgramFailedError, RedisSilentError),
)
INTERRUPTED = 130

NEXT_STEPS = """Everything is running. Press Ctrl-C to stop. In another terminal, in this folder:

  set -a; . {demo}; set +a        # OPENAI_BASE_URL, OPENAI_API_KEY and the admin login

  curl -N "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "stream": true, "temperature": 0,
         "messages": [{{"role": "user", "content": "Hello"}}]}}'

  curl "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY"
{adapters}
{tuning}  {python} manage.py keys list     # --help: options

In a browser: {base_url}/ is the console, {base_url}/admin/ the administration.
The login is CYLLM_ADMIN_USER and CYLLM_ADMIN_PASSWORD in {demo}.

Logs: {logs}/
"""


class _Terminated(Exception):
    """SIGTERM or SIGHUP arrived."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _kill_on_next_signal(stack: Stack) -> None:
    def kill(_number: int, _frame: FrameType | None) -> None:
        stack.terminal.say("killing all processes")
        stack.supervisor.kill_all()
        os._exit(INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, kill)


def next_steps(local: LocalSettings) -> str:
    """Return commands to try on the running stack."""
    state = display_path(local.state_dir)
    names = ", ".join(adapter.name for adapter in local.worker_adapters)
    return NEXT_STEPS.format(
        demo=f"{state}/{environment.DEMO_FILE}",
        model=environment.served_model(local),
        adapters=f"\n  Adapters, to use as the model's name: {names}\n" if names else "",
        tuning=_tuning(local),
        python=display_path(Path(sys.executable)),
        base_url=local.base_url,
        logs=f"{state}/logs",
    )


def _tuning(local: LocalSettings) -> str:
    """Return the line on the example of a fine-tuning, whose base model is the bundled one."""
    if not local.bundled_model or not environment.trainable_models(local):
        return ""
    python = display_path(Path(sys.executable))
    return f"  {python} examples/fine_tune.py   # fine-tunes the model; minutes on a CPU\n"


def _run(stack: Stack, *, once: bool) -> int:
    try:
        stack.start()
        if not once:
            stack.terminal.say(next_steps(stack.local))
            stack.watch()
    except (KeyboardInterrupt, _Terminated):
        stack.terminal.say("\nstopping; press Ctrl-C again to kill all processes")
    except EXPECTED_ERRORS as error:
        stack.terminal.say(f"\n{error}\n")
        return 1
    finally:
        _kill_on_next_signal(stack)
        stack.stop()
    return 0


def _load_settings() -> LocalSettings:
    try:
        local = LocalSettings()
    except ValidationError as error:
        for fault in error.errors():
            name = "CYLLM_" + str(fault["loc"][0]).upper()
            print(f"{name}: {fault['msg']}", file=sys.stderr)
        sys.exit(2)
    return local.model_copy(update={"state_dir": local.state_dir.resolve()})


def _already_running(local: LocalSettings, error: AlreadyRunningError) -> str:
    return (
        f"CY-LLM is already running in this folder (process {error.pid or 'unknown'}). Its addresses are in "
        f"{local.state_dir / environment.DEMO_FILE}. Press Ctrl-C in its terminal, or run: make stop"
    )


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the first completed request")
    once = parser.parse_args().once
    os.chdir(ROOT)
    local = _load_settings()
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    try:
        with Lock(local.state_dir / environment.LOCK_FILE):
            return _run(Stack(local), once=once)
    except AlreadyRunningError as error:
        print(_already_running(local, error), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
