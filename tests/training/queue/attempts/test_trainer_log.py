"""The last lines of the trainer's log: readable, without secrets and folders, of running attempts."""

from __future__ import annotations

import pytest

from tests.console.harness.jobs import job_with_steps, running_token
from tests.people import Cast
from training.jobs.failures import Failure
from training.models import JobAttempt
from training.queue.endings import attempt_fail
from training.supervisor.results.trainer_log import TrainerLog, readable_line


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('  File "/srv/cy-llm/training/engine/run.py", line 3, in run', '  File "…/run.py", line 3, in run'),
        ("no such file: '/home/me/.cache/models/a-1.5'", "no such file: '…/a-1.5'"),
        ("read:/srv/models/a from /srv/lib:/srv/data/lib", "read:…/a from …/lib:…/lib"),
        ("see https://example.org/a/b/c and docs/a/b.md, 3/4 done", None),
        ("key sk-cy-abcdefghijkl-secret, password=hunter2", "key [masked], password=[masked]"),
        ("postgres://cyllm:secret@db.internal/cyllm", "postgres://[masked]@db.internal/cyllm"),
        ("  1%|  | 1/100\r  2%|  | 2/100\r", "  2%|  | 2/100"),
        ("\x1b[31mred\x1b[0m nul\0 tab\t损失", "red nul tab\t损失"),
    ],
)
def test_a_line_is_readable_and_says_nothing_about_the_training_worker(line: str, text: str | None) -> None:
    assert readable_line(line) == (line if text is None else text)


@pytest.mark.django_db
def test_a_log_is_stored_while_it_grows_and_not_after_the_attempt(cast: Cast) -> None:
    job = job_with_steps(cast.acme, 1)
    token = running_token(job)
    log = TrainerLog(token)

    def stored() -> str:
        return JobAttempt.objects.get(id=token).log

    log.store(["one"])
    assert stored() == "one"
    log.store(["one", "two"])
    assert stored() == "one"  # a moment ago
    log.store(["one", "two", "three"], is_last=True)
    assert stored() == "one\ntwo\nthree"
    attempt_fail(token, Failure(code="trainer_crashed", message="It crashed."))
    log.store(["too late"], is_last=True)
    assert stored() == "one\ntwo\nthree"
