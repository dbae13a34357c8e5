"""Django's commands. Unset addresses default to those of a running local stack."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

from deploy.local.environment import (
    CODE_SETTINGS_MODULE,
    SETTINGS_MODULE,
    load_addresses,
    needs_servers,
    verifies_file,
)


def main() -> None:
    """Run a command."""
    is_code_check = os.environ.get("DJANGO_SETTINGS_MODULE", "").endswith(".check")
    problem = None if is_code_check else load_addresses(os.environ)
    if problem is not None:
        if needs_servers(sys.argv[1:]):
            sys.exit(problem)
        if verifies_file(sys.argv[1:]) and not os.environ.get("CYLLM_SECRET_KEY"):
            sys.exit("Set CYLLM_SECRET_KEY to the key of the platform that wrote the file.")
        # These settings replace the missing addresses.
        os.environ["DJANGO_SETTINGS_MODULE"] = CODE_SETTINGS_MODULE
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
    # Commands print their outcome; the log lines of services would say it twice.
    os.environ.setdefault("CYLLM_LOG_LEVEL", "WARNING")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
