"""Pages in Chinese: every text of console and admin is translated."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone, translation
from typing_extensions import override

from inference_worker.registry.services import model_register
from tenants.keys.services import key_create, key_update
from tenants.members.services import membership_set, service_account_create
from tenants.models import AdminAudit, ApiKey, AuditRecord, Membership
from tenants.services import tenant_update
from tests.console.harness.heartbeats import beat, heartbeat
from tests.console.harness.jobs import checkpoint, evaluate, job_with_steps
from tests.people import Cast
from tests.site.harness.admin_urls import admin_urls
from tests.usage.records import refusal_count, usage_at
from training.models import FineTuningJob, JobCheckpoint

pytestmark = pytest.mark.django_db

TOKEN = re.compile(r"[\w.:/@+-]+", re.ASCII)
WORD = re.compile(r"[A-Za-z]{2,}")
NAMES = frozenset(
    {
        *("acme", "Acme", "globex", "Globex", "owner", "member", "stranger", "boss", "newcomer", "nightly"),
        *(
            "tests",
            "tiny",
            "admin",
            "API",
            "curl",
            "Python",
            "CSV",
            "JSON",
            "Lines",
            "GPU",
            "UTC",
            "ID",
            "URL",
        ),
        *("HTTP", "Redis", "Postgres", "JavaScript", "LDAP", "token", "Token", "DPO", "LoRA", "MAC"),
        *("English", "Ctrl", "Enter", "Top", "Authorize", "Alpha", "Dropout", "beta"),
        *("OpenAI", "Alpaca", "ShareGPT", "TRL", "Nightly", "KV"),
    }
)
# Values of requests and commands, such as hyperparameters and units, are not translated.
VALUES = frozenset(
    {
        *("auto", "lora", "dora", "full", "yes", "no", "linear", "cosine", "constant", "on", "off"),
        *("default", "ms", "GiB", "python", "en"),
    }
)
# Words of Django's translations for which this project has others.
OTHER_WORDS = ("过滤", "注销", "帐号", "账号", "动作")
SKIPPED = ("script", "style", "code", "pre", "kbd", "textarea", "title", "datalist")
VOID = ("br", "hr", "img", "input", "link", "meta", "use")
ATTRIBUTES = ("aria-label", "placeholder", "alt")


class PageTexts(HTMLParser):
    """The texts of a page that people read, without code, icons and what is marked as English."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._skips: list[bool] = []
        self.feed(html)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        is_other = values.get("lang") == "en" or "material-symbols" in values.get("class", "")
        is_skipped = tag in SKIPPED or is_other or any(self._skips)
        if not is_skipped:
            self.texts += [values[name] for name in ATTRIBUTES if name in values]
        if tag not in VOID:
            self._skips.append(is_skipped)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and self._skips:
            self._skips.pop()

    @override
    def handle_data(self, data: str) -> None:
        if not any(self._skips):
            self.texts.append(data.strip())


@pytest.fixture
def key(cast: Cast, redis_client: Any) -> ApiKey:
    """A key of a tenant that has rows of every kind, and changes by people, keys and commands."""
    model_register(name="tiny", actor="tests")
    account = service_account_create(tenant=cast.acme, name="nightly", actor="tests")
    key, _ = key_create(tenant=cast.acme, name="nightly", actor="user:owner", service_account=account)
    key_update(key_id=key.id, actor="user:owner", scopes=["files"], requests_per_minute=4)
    tenant_update(tenant_id=cast.acme.id, actor="cli:boss", tier="batch", spend_per_day_microusd=5)
    newcomer = User.objects.create_user("newcomer")
    membership_set(tenant=cast.acme, user=newcomer, role="viewer", actor=f"key:{key.prefix}")
    membership_set(tenant=cast.acme, user=newcomer, role="admin", actor="job:ftjob-1")
    membership_set(tenant=cast.acme, user=newcomer, role="viewer", actor="system:file-expiry")
    usage_at(cast.acme, timezone.now(), key=key)
    AuditRecord.objects.create(
        request_id="r-1",
        correlation_id="c-1",
        tenant=cast.acme,
        endpoint="/v1/chat/completions",
        outcome="refused",
        status=429,
        error_code="rate_limit_exceeded",
        method="POST",
        duration_s=0.1,
        at=timezone.now(),
    )
    refusal_count(cast.acme, requests=40)
    job = job_with_steps(cast.acme, 20, base_model="tiny")
    evaluate(job, 20, 1.9, is_best=True)
    checkpoint(job, 20, 1.9, is_best=True)
    beat(redis_client, heartbeat(engine="tiny", hardware="GPU", stage="ready"))
    return key


def paths(cast: Cast, key: ApiKey) -> list[str]:
    """Return the addresses of the pages, without those of a job's events, which are the API's and English."""
    tenant = [
        *("jobs/", "jobs/new/", "files/", "models/", "models/tiny/", "playground/", "members/"),
        *(
            "usage/",
            "usage/?by=key",
            "usage/records/",
            "keys/",
            f"keys/{key.id}/",
            "audit/",
            "audit/requests/",
            "audit/refusals/",
        ),
    ]
    site = ["/console/status/", "/console/two-factor/", "/docs", "/absent"]
    rows = [f"tenants/apikey/{key.id}", f"tenants/tenant/{cast.acme.id}"]
    rows.append(f"tenants/adminaudit/{AdminAudit.objects.latest('id').pk}")
    rows.append(f"tenants/membership/{Membership.objects.get(user__username='newcomer').pk}")
    rows.append(f"training/jobcheckpoint/{JobCheckpoint.objects.get().pk}")
    rows.append(f"training/finetuningjob/{FineTuningJob.objects.get().pk}")
    lists = [url.path(0) for url in admin_urls() if not (url.has_argument or "jobevent" in url.pattern)]
    return [
        *(f"/console/acme/{path}" for path in tenant),
        *site,
        *lists,
        *(f"/admin/{row}/change/" for row in rows),
    ]


def unexpected_words(text: str, names: frozenset[str]) -> list[str]:
    """Return the English words of a text, and those of other translations for a term of this project.

    Ids, addresses and codes contain more than letters.
    """
    words = [word for word in TOKEN.findall(text) if WORD.fullmatch(word) and word not in names]
    return words + [word for word in OTHER_WORDS if word in text]


@pytest.mark.case("admin.20")
def test_every_text_of_console_and_admin_is_translated(cast: Cast, key: ApiKey) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    names = NAMES | VALUES | frozenset(ApiKey.objects.values_list("prefix", flat=True))
    problems: dict[str, str] = {}
    for path in paths(cast, key):
        with translation.override("en"):  # the client changes this thread's language
            response = client.get(path, headers={"accept-language": "zh-hans"})
        is_page = response["Content-Type"].startswith("text/html")
        texts = PageTexts(response.content.decode()).texts if is_page else []
        assert response.status_code < 500, path
        problems |= {text: path for text in texts if unexpected_words(text, names)}
    assert len(texts) > 20
    assert problems == {}
