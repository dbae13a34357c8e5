"""Pages of a production server: static files under names that change with their content."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Starts the server's application as uvicorn would import it, and asks as a browser behind TLS would.
ASK = """
import asyncio, json, re, sys, httpx
from cyllm_site.asgi import application

async def ask():
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="https://llm.example.org") as browser:
        page = await browser.get("/admin/login/")
        names = sorted(set(re.findall(r'/static/[^"]+', page.text)))
        files = {name: await browser.get(name) for name in names}
        plain = await browser.get("/static/unfold/css/styles.css")
    json.dump(
        {
            "status": page.status_code,
            "files": {name: [f.status_code, f.headers.get("cache-control")] for name, f in files.items()},
            "plain": plain.headers["cache-control"],
        },
        sys.stdout,
    )

asyncio.run(ask())
"""


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    """The environment of a production server with a state folder of its own."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.base",
        "CYLLM_MODE": "production",
        "CYLLM_SECRET_KEY": "Zk3v-0q8Jx_yT5nW2rB7cL9dF1gH4mP6sA8uE0iO3kQ5wX7zVt9R",
        "CYLLM_ALLOWED_HOSTS": "llm.example.org",
        "CYLLM_STATE_DIR": str(tmp_path),
    }


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_a_production_server_wants_its_static_files_collected_and_serves_them_to_be_kept(
    production: dict[str, str],
) -> None:
    refused = run(production, "-c", "import cyllm_site.asgi")
    assert refused.returncode != 0
    assert "cyllm.E007" in refused.stderr
    assert "collectstatic" in refused.stderr
    collected = run(production, "manage.py", "collectstatic", "--noinput")
    assert collected.returncode == 0, collected.stderr
    asked = run(production, "-c", ASK)
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert answer["status"] == 200
    names = [Path(name).name for name in answer["files"]]
    assert any(name.startswith("styles.") and name.count(".") == 2 for name in names), names
    assert any(name.startswith("favicon.") for name in names)
    for name, (status, cache) in answer["files"].items():
        assert status == 200, name
        assert "immutable" in cache, name
    assert "immutable" not in answer["plain"]
