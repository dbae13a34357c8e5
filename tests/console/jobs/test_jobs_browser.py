"""Lists, forms and comparisons of jobs in a real browser."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import expect

from inference_worker.registry.services import model_register
from tests.browser import IN_BROWSER
from tests.console.harness.browsing import visit
from tests.console.harness.jobs import MODEL, evaluate, job_with_steps, write_steps
from tests.gateway.harness.threads import in_thread
from tests.people import Cast
from training.models import FineTuningJob

pytestmark = [pytest.mark.django_db(transaction=True), *IN_BROWSER]
COUNT = 48


def _jobs(cast: Cast, count: int) -> list[FineTuningJob]:
    return [job_with_steps(cast.acme, 0, runs=False, suffix=f"job-{index}") for index in range(count)]


async def test_the_list_keeps_scroll_focus_and_selection_while_rows_change(
    site_server: int, cast: Cast
) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 10, suffix="live"))
    await in_thread(lambda: _jobs(cast, COUNT))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open("/console/acme/jobs/?sort=created&state=open")
        rows = page.locator("#jobs tbody tr")
        await expect(rows).to_have_count(COUNT + 1)
        link = rows.nth(40).locator("a")
        await link.scroll_into_view_if_needed()
        await link.focus()
        for index in (39, 41):
            await rows.nth(index).locator("input").evaluate("box => box.click()")
        await link.focus()
        scroll = await page.evaluate("scrollY")
        assert scroll > 500
        for step in range(11, 16):
            await in_thread(lambda step=step: write_steps(job, step, step))  # type: ignore[misc]
        await in_thread(lambda: _jobs(cast, 1))
        await expect(page.locator("#new-jobs")).to_have_text("1 new")
        await expect(rows.first).to_contain_text("step 15 of 200")
        assert await page.evaluate("scrollY") == scroll
        assert await link.evaluate("element => element === document.activeElement")
        assert await page.locator("input[name=job]:checked").count() == 2
        await expect(rows).to_have_count(COUNT + 1)

        await link.press("Enter")
        await page.wait_for_url("**/jobs/ftjob-*/")
        await page.go_back()
        assert page.url.endswith("?sort=created&state=open")
        await page.wait_for_function("scroll => Math.abs(scrollY - scroll) < 5", arg=scroll)
        assert one.faults == []

        await page.route("**part=rows**", lambda request: request.abort())
        state = page.locator("[data-live-state]")
        await expect(state).to_contain_text("Trying again")
        await in_thread(lambda: write_steps(job, 16, 17))
        await page.unroute("**part=rows**")
        await expect(rows.first).to_contain_text("step 17 of 200")
        await expect(state).to_be_hidden()


FAULTY = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
    {"messages": [{"role": "user", "content": 5}, {"role": "assistant", "content": "Hello."}]},
    {"messages": [{"role": "nobody", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant"}]},
]


def _dataset(path: Path, examples: list[Any]) -> Path:
    path.write_text("".join(json.dumps(example) + "\n" for example in examples))
    return path


def _good(count: int) -> list[Any]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is {index} plus 1?"},
                {"role": "assistant", "content": f"It is {index + 1}."},
            ]
        }
        for index in range(count)
    ]


async def test_faults_of_a_dataset_are_shown_with_line_and_path_and_refuse_it(
    site_server: int, cast: Cast, tmp_path: Path
) -> None:
    await in_thread(lambda: model_register(name=MODEL, actor="tests", source=MODEL))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open("/console/acme/jobs/new/")
        await page.fill("#suffix", "mine")
        await page.fill("#n_epochs", "2")
        await page.set_input_files("#upload", _dataset(tmp_path / "faulty.jsonl", FAULTY))
        faults = page.locator("#faults .faults tbody tr")
        await expect(faults).to_have_count(3)
        places = [
            (await row.locator("th").inner_text(), await row.locator("td").first.inner_text())
            for row in await faults.all()
        ]
        assert places == [
            ("2", "messages[0].content"),
            ("3", "messages[0].role"),
            ("4", "messages[1].content"),
        ]
        await expect(page.locator("#upload-state")).to_contain_text("was not stored")
        assert await page.input_value("#suffix") == "mine"
        one.faults.clear()  # the browser reports the refusal of the upload
        await page.click("#submit")
        await expect(page.locator("#form-error")).to_be_visible()
        assert await page.input_value("#suffix") == "mine"
        assert await page.input_value("#n_epochs") == "2"
        assert await page.locator("#training_file").get_attribute("aria-invalid") == "true"
        await page.set_viewport_size({"width": 375, "height": 800})
        (table := tmp_path / "table.csv").write_text('question,answer\nIs there wifi?,"Yes, bluebeans42"\n')
        await page.set_input_files("#upload", table)
        await expect(faults).to_have_count(2)
        assert await page.evaluate("document.documentElement.scrollWidth") == 375
        hidden_px = "table => table.scrollWidth - table.clientWidth"
        assert await page.locator("#faults .scroll").evaluate(hidden_px) == 0
        await page.set_input_files("#upload", _dataset(tmp_path / "good.jsonl", _good(2)))
        await expect(page.locator("[data-fact=examples]")).to_have_text("2")
        await page.fill("#n_epochs", "0")
        await page.click("#submit")
        await expect(page.locator("#n_epochs-error")).to_contain_text("hyperparameters.n_epochs")
        assert await page.evaluate("document.documentElement.scrollWidth") == 375
    assert await in_thread(FineTuningJob.objects.count) == 0


async def test_a_job_is_created_with_an_estimate_and_its_clone_by_the_copied_command(
    site_server: int, cast: Cast, tmp_path: Path
) -> None:
    await in_thread(lambda: model_register(name=MODEL, actor="tests", source=MODEL, training_price=1_000_000))
    async with visit(site_server, cast.member) as one:
        page = one.page
        await one.open("/console/acme/jobs/new/")
        await page.set_input_files("#upload", _dataset(tmp_path / "good.jsonl", _good(40)))
        estimate = page.locator("#estimate")
        await expect(estimate).to_be_visible()
        await expect(page.locator("[data-fact=examples]")).to_have_text("40")
        trained_tokens = await page.inner_text("[data-fact=trained]")
        tokens = int((await page.inner_text("[data-fact=total-tokens]")).replace(",", ""))
        await expect(estimate).to_contain_text(f"${tokens / 1e6:.4f}"[:5])
        await expect(page.locator(".sample mark").first).to_contain_text("It is 1.")
        assert "What is 0" not in await page.locator(".sample mark").first.inner_text()
        await expect(page.locator("#few-examples")).to_contain_text("rate (2e-3) in all modules (all-linear)")
        await page.click("#few-examples button")
        await expect(page.locator("#target_modules")).to_be_visible()
        assert await page.input_value("#target_modules") == "all-linear"
        await expect(estimate).to_contain_text(re.compile("rate (0.002|2e-3)"))
        await expect(page.locator("#few-examples")).to_have_count(0)
        await page.fill("#learning_rate", "0.003")
        await expect(estimate).to_contain_text(re.compile("rate (0.003|3e-3)"))
        await page.fill("#suffix", "first")
        await page.fill("#rank", "4")
        await page.click("#submit")
        await page.wait_for_url("**/jobs/ftjob-*/")
        first = await in_thread(lambda: FineTuningJob.objects.get(suffix="first"))
        assert (first.base_model, first.options["rank"], first.created_by) == (MODEL, 4, "user:member")
        assert trained_tokens.replace(",", "") == str(await in_thread(lambda: _trained_tokens(first)))

        await page.click("#clone")
        await page.wait_for_url("**/jobs/new/?from=*")
        assert await page.input_value("#rank") == "4"
        await page.fill("#rank", "16")
        await page.wait_for_function(
            "() => document.querySelector('#curl-text')?.textContent.includes('\"rank\": 16')"
        )
        await page.click("[data-copy='#curl-text']")
        command = await page.evaluate("navigator.clipboard.readText()")
        assert one.faults == []
    by_api = await _run(command, cast.acme_key)
    expected = dict(first.options) | {"rank": 16}
    clone = await in_thread(lambda: FineTuningJob.objects.get(id=by_api["id"]))
    assert clone.options == expected
    assert (clone.training_file, clone.seed, clone.suffix) == (first.training_file, first.seed, first.suffix)


def _trained_tokens(job: FineTuningJob) -> int:
    """Return the trained tokens that the API's own check of the file counts."""
    from tenants.files.models import StoredFile
    from tenants.files.selectors import file_open
    from tests.models import tiny_folder
    from training.datasets.tokens.preparation import check_dataset
    from training.datasets.tokens.tokenizer import load_tokenizer

    file = StoredFile.objects.get(id=job.training_file)
    with file_open(file) as content:
        report = check_dataset(content, load_tokenizer(tiny_folder()))
    assert report.tokens is not None
    return report.tokens.trained_tokens


async def _run(command: str, key: str) -> dict[str, Any]:
    """Send what a curl command says."""
    words = [word for word in shlex.split(command) if word.strip()]
    headers = {}
    body = ""
    for option, value in itertools.pairwise(words):
        if option == "-H":
            name, _, text = value.partition(": ")
            headers[name] = text.replace("$OPENAI_API_KEY", key)
        elif option == "-d":
            body = value
    async with httpx.AsyncClient() as client:
        response = await client.post(words[1], headers=headers, content=body.encode())
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_comparison_shows_differences_first_and_only_to_members(site_server: int, cast: Cast) -> None:
    first = await in_thread(lambda: job_with_steps(cast.acme, 20, suffix="same"))
    second = await in_thread(
        lambda: job_with_steps(
            cast.acme, 30, suffix="same", hyperparameters={"n_epochs": 5}, options={"rank": 4}
        )
    )
    await in_thread(lambda: evaluate(second, 10, 2.0, is_best=True))
    address = f"/console/acme/compare/?jobs={first.id},{second.id}"
    for user in (cast.owner, cast.member):
        async with visit(site_server, user) as one:
            await one.open(address)
            names = await one.page.locator("#settings tr.differs th").all_inner_texts()
            assert sorted(names) == ["n_epochs", "rank"]
            assert (await one.page.inner_text("#same")).endswith("same")
            chart = "Chart.getChart(document.querySelector('[data-compare=loss] canvas'))"
            await one.page.wait_for_function(f"() => {chart}?.data.datasets.length === 2")
            lengths = await one.page.evaluate(f"() => {chart}.data.datasets.map(each => each.data.length)")
            assert lengths == [20, 30]
            assert one.faults == []
    async with visit(site_server, cast.stranger) as one:
        response = await one.page.goto(f"{one.address}{address}")
        assert response is not None
        assert response.status == 404


async def test_a_comparison_whose_series_can_not_be_loaded_says_so(site_server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 5))
    async with visit(site_server, cast.member) as one:
        await one.page.route("**/series/**", lambda route: route.fulfill(status=503, body="{}"))
        await one.open(f"/console/acme/compare/?jobs={job.id}")
        await one.page.wait_for_selector("#failure:not([hidden])")
        await expect(one.page.locator("#failure")).to_contain_text("The series of a job could not be loaded.")
