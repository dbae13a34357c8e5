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
    "api/gateway/capacity/body_bytes.py",
    "api/gateway/capacity/fair_share.py",
    "api/gateway/capacity/large_bodies.py",
    "api/gateway/capacity/pace.py",
    "api/gateway/capacity/process_capacity.py",
    "api/gateway/capacity/slots.py",
    "api/gateway/capacity/tenant_semaphore.py",
    "api/gateway/http/body_headers.py",
    "api/gateway/settings.py",
    "api/gateway/stages/access/authenticate.py",
    "api/gateway/stages/access/authorize.py",
    "api/gateway/stages/admission/cache_salt.py",
    "api/gateway/stages/admission/pipeline.py",
    "api/gateway/stages/admission/tiers.py",
    "api/gateway/stages/body/client_time.py",
    "api/gateway/stages/body/decode.py",
    "api/gateway/stages/body/model_name.py",
    "api/gateway/stages/body/read.py",
    "api/gateway/stages/body/receive.py",
    "api/gateway/stages/quota/call_bound.py",
    "api/gateway/stages/quota/quota_errors.py",
    "api/gateway/stages/quota/rate_limit_fields.py",
    "api/gateway/stages/quota/refused_claim.py",
    "api/gateway/stages/quota/reserve.py",
    "api/gateway/stages/quota/settle.py",
    "api/gateway/stages/recording/record_start.py",
    "api/key_checks.py",
    "api/openai/validation/json_body.py",
    "api/openai/errors/base.py",
    "api/openai/schemas/messages.py",
    "api/openai/validation/requests.py",
    "api/openai/schemas/sampling.py",
    "cyllm_site/settings/env.py",
    "inference_worker/protocol/codec.py",
    "inference_worker/protocol/messages.py",
    "inference_worker/protocol/names.py",
    "inference_worker/protocol/prices.py",
    "inference_worker/registry/selectors.py",
    "inference_worker/registry/services.py",
    "tenants/keys/secrets.py",
    "tenants/ledger/columns.py",
    "tenants/ledger/store.py",
    "tenants/ledger/sweep.py",
    "tenants/ledger/upsert.py",
    "tenants/locks.py",
    "tenants/models.py",
    "tenants/record_models.py",
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
