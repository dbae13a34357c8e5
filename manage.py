"""Django's commands. Beside a running local stack its addresses are used for what is not set."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

from deploy.local.environment import SETTINGS_MODULE, stack_join


def main() -> None:
    """Run one command."""
    reads_code_only = os.environ.get("DJANGO_SETTINGS_MODULE", "").endswith(".check")
    problem = None if reads_code_only else stack_join(os.environ)
    if problem is not None:
        sys.exit(problem)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
