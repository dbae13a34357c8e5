"""Time to the first byte of every page of the console, on a production site with many rows.

``python -m benchmarks.console.pages --rows 100000 --jobs 1000``. Prints median and maximum of each page.
"""

from __future__ import annotations

import argparse
import statistics
import time

import httpx

from benchmarks.console.rows import JOB_ID, SampleTenant, fill
from benchmarks.console.site import running_servers, running_site
from tests.people import session_key

LIMIT_MS = 300
PUBLIC_PATHS = ("/", "/console/sign-in/", "/admin/login/")


def paths(sample: SampleTenant) -> list[str]:
    """Return the address of every page, and of the parts that pages ask for again and again."""
    tenant = [
        *("jobs/", "jobs/?page=10", "jobs/?sort=best", "jobs/?state=open", "jobs/?q=try-7"),
        f"jobs/?part=rows&ids={','.join(f'ftjob-{number:06d}' for number in range(1, 51))}",
        *(f"jobs/{JOB_ID}/", f"jobs/{JOB_ID}/?part=live", f"jobs/{JOB_ID}/series/?s=0.6", "jobs/new/"),
        f"compare/?jobs={JOB_ID},ftjob-000002",
        *("files/", "files/file-000001/", "models/", "models/model-1/", "model-states/", "playground/"),
        *("usage/", "usage/?by=key", "usage/?by=member", "usage/?tz=Asia/Kolkata&by=key", "usage/records/"),
        *(f"usage/records/?key={sample.key_id}", "keys/", f"keys/{sample.key_id}/", "members/"),
        *("audit/", "audit/requests/", "audit/refusals/"),
    ]
    site = ["/docs", "/console/two-factor/", "/console/status/", "/console/status/part/"]
    return [*(f"/console/{sample.tenant.slug}/{path}" for path in tenant), *site, *_admin_paths(sample)]


def _admin_paths(sample: SampleTenant) -> list[str]:
    """Return the index, the list of every model, and pages of its own."""
    from django.contrib import admin
    from django.urls import reverse

    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model in admin.site._registry
    ]
    rows = [f"tenants/apikey/{sample.key_id}/change/", f"tenants/tenant/{sample.tenant.id}/change/"]
    others = ["", "workers/", "tenants/usagerecord/sums/", "tenants/auditrecord/request/?id=req-5", *rows]
    return [*(f"/admin/{path}" for path in others), *lists]


def first_byte_ms(client: httpx.Client, path: str) -> float:
    """Request a page and return the milliseconds until the first byte of its body."""
    start = time.perf_counter()
    with client.stream("GET", path) as response:
        chunks = response.iter_raw()
        next(chunks, b"")
        elapsed_s = time.perf_counter() - start
        for _ in chunks:
            pass  # leaves the connection free for the next page
        if response.status_code != 200:
            raise RuntimeError(f"{path}: {response.status_code}")
    return elapsed_s * 1000


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000, help="usage and audit records, each")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with running_servers() as servers:
        sample = fill(options.rows, options.jobs)
        cookies = {"sessionid": session_key(sample.owner)}
        with running_site(servers) as address:
            print("| page | first ms | median ms | maximum ms | |\n|---|---|---|---|---|")
            with httpx.Client(base_url=address) as visitor:
                for path in PUBLIC_PATHS:
                    print(_row(visitor, path, options.repeats), flush=True)
            with httpx.Client(base_url=address, cookies=cookies) as client:
                for path in paths(sample):
                    print(_row(client, path, options.repeats), flush=True)


def _row(client: httpx.Client, path: str, repeats: int) -> str:
    """Return the line of a page; the first request compiles its templates."""
    first = first_byte_ms(client, path)
    times = [first_byte_ms(client, path) for _ in range(repeats)]
    median = statistics.median(times)
    verdict = "" if median <= LIMIT_MS else f"over {LIMIT_MS}"
    return f"| {path[:70]} | {first:.0f} | {median:.0f} | {max(times):.0f} | {verdict} |"


if __name__ == "__main__":
    main()
