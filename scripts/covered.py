"""Fails unless the modules on which the rest relies were covered wholly, branches too, by the last test run.

Usage: scripts/covered.py, after a whole run of the tests with --cov. Silent when all is well.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from coverage import Coverage
from coverage.exceptions import CoverageException

ROOT = Path(__file__).resolve().parents[1]
WHOLLY = (
    "api/gateway/stages/authorize.py",
    "api/gateway/stages/capacity.py",
    "api/gateway/stages/authenticate.py",
    "api/gateway/stages/limits.py",
    "api/gateway/stages/receive.py",
    "api/openai/validation/json_body.py",
    "api/openai/errors/base.py",
    "api/openai/schemas/messages.py",
    "api/openai/validation/requests.py",
    "api/openai/schemas/sampling.py",
    "cyllm_site/env.py",
    "inference_worker/protocol/codec.py",
    "inference_worker/protocol/messages.py",
    "inference_worker/protocol/names.py",
    "inference_worker/registry/selectors.py",
    "inference_worker/registry/services.py",
    "tenants/keys.py",
    "tenants/ledger/record.py",
    "tenants/ledger/store.py",
    "tenants/ledger/sweep.py",
    "tenants/models.py",
)


def uncovered(coverage: Coverage, names: tuple[str, ...]) -> list[str]:
    """What was not run of each file; a file that is not there any more is said as well."""
    found = []
    for name in names:
        if not (ROOT / name).is_file():
            found.append(f"{name}: no such file; correct the list in scripts/covered.py")
            continue
        out = io.StringIO()
        if coverage.report(include=[str(ROOT / name)], show_missing=True, file=out) < 100:
            found.append(out.getvalue().splitlines()[2])
    return found


def main() -> int:
    """0 if every line and branch of them was run."""
    coverage = Coverage(config_file=str(ROOT / "pyproject.toml"))
    try:
        coverage.load()
        found = uncovered(coverage, WHOLLY)
    except CoverageException as error:
        found = [f"{error} (run the tests with --cov first)"]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
