"""Django setup and migrations in the launcher's process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import django
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from deploy.local.settings import ROOT
from inference_worker.runtime.parent_death import parent_bound_command


class MigrationError(Exception):
    """The migrations failed; the text is the output of the command."""


def setup_django(environment: Mapping[str, str]) -> None:
    """Load Django's settings from the environment of the stack's processes. Raises SystemExit."""
    os.environ.update(environment)
    django.setup()


def migrate(environment: Mapping[str, str]) -> int:
    """Apply pending migrations and return their number. Raises MigrationError."""
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise MigrationError(f"can't read the state of the database schema: {error}") from error
    if pending:
        _run_migrate(environment)
    return len(pending)


def _run_migrate(environment: Mapping[str, str]) -> None:
    # a separate process, because the statement timeout is lifted for this command only
    process = subprocess.run(
        parent_bound_command(
            [sys.executable, str(ROOT / "manage.py"), "migrate", "--noinput", "--verbosity", "0"]
        ),
        env=dict(environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        raise MigrationError("\n".join((process.stdout + process.stderr).splitlines()[-15:]))


def close_connection() -> None:
    """Close the launcher's database connection."""
    connection.close()
