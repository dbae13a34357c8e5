"""Django in the launcher's own process: settings checked, schema brought up to date."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import django
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from deploy.local.processes.supervisor import bound_to_parent
from deploy.local.settings import ROOT


class MigrationError(Exception):
    """The schema can't be brought up to date; the text is the command's own."""


def django_setup(environment: Mapping[str, str]) -> None:
    """Load the settings from the environment that the stack's processes get. May raise SystemExit."""
    os.environ.update(environment)
    django.setup()


def migrate(environment: Mapping[str, str]) -> int:
    """Bring the schema up to date; returns the number of migrations applied. Raises MigrationError."""
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise MigrationError(f"the state of the schema can't be read: {error}") from error
    if pending:
        # a process of its own: the platform lifts its limit on statements for this command only
        done = subprocess.run(
            bound_to_parent(
                [sys.executable, str(ROOT / "manage.py"), "migrate", "--noinput", "--verbosity", "0"]
            ),
            env=dict(environment),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise MigrationError("\n".join((done.stdout + done.stderr).splitlines()[-15:]))
    return len(pending)


def close() -> None:
    """Leave no connection open: the launcher has no more use for it."""
    connection.close()
