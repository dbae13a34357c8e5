"""``python -m deploy.local``: the local stack in the foreground. ``--once`` ends after the first answer."""

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
from deploy.local.demo.heartbeat_listener import RedisSilentError
from deploy.local.demo.smoke_test import SmokeTestError
from deploy.local.launch import STAGES, Stack, shown
from deploy.local.processes.lock import AlreadyRunningError, Lock
from deploy.local.processes.supervisor import ProgramFailedError
from deploy.local.progress import Stages
from deploy.local.servers.accounts import AccountError
from deploy.local.servers.external_servers import ExternalServerError
from deploy.local.servers.ports import PortBusyError
from deploy.local.servers.postgres import PostgresError
from deploy.local.servers.schema import MigrationError
from deploy.local.settings import ROOT, LocalSettings

EXPECTED = (
    *(AccountError, SmokeTestError, ExternalServerError, MigrationError, ModelError),
    *(PortBusyError, PostgresError, ProgramFailedError, RedisSilentError),
)
INTERRUPTED = 130

NEXT = """Everything runs. Ctrl-C stops it. In another terminal, in this folder:

  set -a; . {demo}; set +a        # OPENAI_BASE_URL, OPENAI_API_KEY and the admin's name and password

  curl -N "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "stream": true, "temperature": 0,
         "messages": [{{"role": "user", "content": "Hello"}}]}}'

  {python} -c 'import openai; print(openai.OpenAI().models.list().data)'
{adapters}
  {python} manage.py keys list     # also: manage.py help
  {base_url}/admin/                # name and password are in {demo}

Logs: {logs}/
"""


class _Terminated(Exception):
    """SIGTERM or SIGHUP arrived."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _end_now(stack: Stack) -> None:
    def now(_number: int, _frame: FrameType | None) -> None:
        stack.terminal.say("ending everything at once")
        stack.supervisor.kill_all()
        os._exit(INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, now)


def what_next(local: LocalSettings) -> str:
    """What can be tried on the stack that runs now."""
    state = shown(local.state_dir)
    names = ", ".join(adapter.name for adapter in local.worker_adapters)
    return NEXT.format(
        demo=f"{state}/{environment.DEMO_FILE}",
        model=environment.served_model(local),
        adapters=f"\n  The model's adapters, by the name to ask for: {names}\n" if names else "",
        python=shown(Path(sys.executable)),
        base_url=local.base_url,
        logs=f"{state}/logs",
    )


def _run(stack: Stack, *, once: bool) -> int:
    try:
        stack.start()
        if not once:
            stack.terminal.say(what_next(stack.local))
            stack.watch()
    except (KeyboardInterrupt, _Terminated):
        stack.terminal.say("\nstopping; Ctrl-C again ends everything at once")
    except EXPECTED as error:
        stack.terminal.say(f"\n{error}\n")
        return 1
    finally:
        _end_now(stack)
        stack.stop()
    return 0


def _already_running(local: LocalSettings, error: AlreadyRunningError) -> str:
    return (
        f"CY-LLM runs in this folder already (process {error.pid or 'unknown'}); its addresses are in "
        f"{local.state_dir / environment.DEMO_FILE}. Stop it with Ctrl-C there, or with: make stop"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the first answer")
    once = parser.parse_args().once
    os.chdir(ROOT)
    try:
        local = LocalSettings()
    except ValidationError as error:
        for fault in error.errors():
            name = "CYLLM_" + str(fault["loc"][0]).upper()
            print(f"{name}: {fault['msg']}", file=sys.stderr)
        return 2
    local = local.model_copy(update={"state_dir": local.state_dir.resolve()})
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    try:
        with Lock(local.state_dir / environment.LOCK_FILE):
            return _run(Stack(local, Stages(STAGES)), once=once)
    except AlreadyRunningError as error:
        print(_already_running(local, error), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
