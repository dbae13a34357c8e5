"""Fail unless the last test run covered every line and branch of the critical modules.

Usage: scripts/covered.py, after a full run of the tests with --cov. Prints nothing on success.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from coverage import Coverage
from coverage.exceptions import CoverageException

ROOT = Path(__file__).resolve().parents[1]
FULLY_COVERED = (
    "api/gateway/http/body_headers.py",
    "api/gateway/stages/admission.py",
    "api/gateway/stages/authorize.py",
    "api/gateway/stages/capacity.py",
    "api/gateway/stages/fair_share.py",
    "api/gateway/stages/authenticate.py",
    "api/gateway/settings.py",
    "api/gateway/stages/receive.py",
    "api/gateway/stages/reserve.py",
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
    "tenants/ledger/columns.py",
    "tenants/ledger/store.py",
    "tenants/ledger/sweep.py",
    "tenants/models.py",
)


def find_gaps(coverage: Coverage, names: tuple[str, ...]) -> list[str]:
    """Return a line for each file that is missing or not fully covered."""
    gaps = []
    for name in names:
        if not (ROOT / name).is_file():
            gaps.append(f"{name}: no such file; update the list in scripts/covered.py")
            continue
        report = io.StringIO()
        if coverage.report(include=[str(ROOT / name)], show_missing=True, file=report) < 100:
            gaps.append(report.getvalue().splitlines()[2])
    return gaps


def main() -> int:
    """Run the command; the exit status is 0 if there are no gaps."""
    coverage = Coverage(config_file=str(ROOT / "pyproject.toml"))
    try:
        coverage.load()
        gaps = find_gaps(coverage, FULLY_COVERED)
    except CoverageException as error:
        gaps = [f"{error} (run the tests with --cov first)"]
    for line in gaps:
        print(line, file=sys.stderr)
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
