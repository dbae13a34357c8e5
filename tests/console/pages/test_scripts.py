"""Scripts of the console: imported modules have no effects of their own, and durations are the server's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.utils import translation

from api.console.templatetags.console import duration

SCRIPTS = Path(__file__).resolve().parents[3] / "api" / "console" / "static" / "console" / "js"
TEMPLATES = SCRIPTS.parents[2] / "templates"


def test_no_page_loads_a_script_that_another_imports() -> None:
    # With hashed names, the page's copy and the imported one would be two modules, and their effects doubled.
    imports = {
        name
        for script in SCRIPTS.glob("*.js")
        for name in re.findall(r'from "\./([\w.]+)"', script.read_text(encoding="utf-8"))
    }
    scripts = {
        name
        for template in TEMPLATES.rglob("*.html")
        for name in re.findall(r"console/js/([\w.]+\.js)", template.read_text(encoding="utf-8"))
    }
    assert {"page.js", "format.js"} <= imports
    assert {"shell.js", "job.js"} <= scripts
    assert imports & scripts == set()
    assert all((SCRIPTS / name).is_file() for name in imports | scripts)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_scripts_write_durations_as_the_server_does(language: str) -> None:
    if shutil.which("node") is None and not os.environ.get("CI"):
        pytest.skip("node is not installed")
    seconds = [0, 0.4, 59, 59.6, 60, 119, 314, 3599, 3600, 7265, 86399, 86400, 90061, 2_000_000]
    script = f"""
        globalThis.document = {{ documentElement: {{ lang: {json.dumps(language)} }} }};
        const {{ duration }} = await import({json.dumps((SCRIPTS / "format.js").as_uri())});
        console.log(JSON.stringify({seconds}.map(duration)));
    """
    command = ["node", "--input-type=module", "--eval", script]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    with translation.override(language):
        assert json.loads(process.stdout) == [duration(value) for value in seconds]
