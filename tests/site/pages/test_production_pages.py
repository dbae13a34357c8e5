"""Pages of a production server, with hashed names of static files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Imports the application as uvicorn does, and requests pages like a browser behind TLS.
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
    """The environment of a production server with its own state folder."""
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


def test_a_production_server_requires_collected_static_files_and_makes_them_cacheable(
    production: dict[str, str],
) -> None:
    rejection = run(production, "-c", "import cyllm_site.asgi")
    assert rejection.returncode != 0
    assert "cyllm.E007" in rejection.stderr
    assert "collectstatic" in rejection.stderr
    collection = run(production, "manage.py", "collectstatic", "--noinput")
    assert collection.returncode == 0, collection.stderr
    process = run(production, "-c", ASK)
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    assert result["status"] == 200
    names = [Path(name).name for name in result["files"]]
    assert any(name.startswith("styles.") and name.count(".") == 2 for name in names), names
    assert any(name.startswith("favicon.") for name in names)
    for name, (status, cache) in result["files"].items():
        assert status == 200, name
        assert "immutable" in cache, name
    assert "immutable" not in result["plain"]
