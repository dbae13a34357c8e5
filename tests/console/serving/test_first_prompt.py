"""The prompt with which the playground opens: the first of the data of a fine-tuned model."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from django.core.files.storage import default_storage
from django.test import Client

from inference_worker.registry import services as registry
from inference_worker.registry.models import Adapter
from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose, StoredFile
from tenants.members.services import membership_set
from tests.console.harness.jobs import job_with_steps
from tests.people import Cast

pytestmark = pytest.mark.django_db
MODEL = "acme-tuned"
ANSWER = {"role": "assistant", "content": "Yes."}


def _chat(*turns: tuple[str, str]) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    return json.dumps({"messages": [*messages, ANSWER]})


def _file(cast: Cast, content: str, name: str = "chats.jsonl") -> StoredFile:
    new = NewFile(filename=name, purpose=Purpose.USER_DATA)
    return file_store(tenant_id=cast.acme.id, content=io.BytesIO(content.encode()), new=new, actor="t")


def _model(cast: Cast, content: str, validation: str = "") -> None:
    base = registry.model_register(name="tiny", actor="t")
    tuned_model = registry.model_register(name=MODEL, actor="t", visibility="restricted")
    registry.grant_set(name=MODEL, tenant_ids=[cast.acme.id], actor="t")
    job = job_with_steps(
        cast.acme,
        0,
        runs=False,
        training_file=_file(cast, content).id,
        validation_file=_file(cast, validation, "unseen.jsonl").id if validation else "",
    )
    Adapter.objects.create(
        model=tuned_model,
        base=base,
        sha256="a" * 64,
        rank=8,
        size_bytes=1,
        tenant_id=cast.acme.id,
        job_id=job.id,
    )


def _playground(cast: Cast, **query: str) -> Any:
    client = Client()
    client.force_login(cast.member)
    address = f"/console/acme/playground/?{urlencode({'a': 'tiny', 'b': MODEL, **query})}"
    response = client.get(address)
    assert response.status_code == 200
    context = response.context
    assert f">{context['prompt']}</textarea>" in response.content.decode()
    return context


@pytest.mark.parametrize(
    ("content", "system", "prompt"),
    [
        (_chat(("user", "Is it late?")), "", "Is it late?"),
        (
            _chat(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hm"), ("user", "No")),
            "Be kind.",
            "Hi",
        ),
        ('{"prompt": "2 + 2 =", "completion": " 4"}', "", "2 + 2 ="),
        (f"[{_chat(('user', 'In an array'))}, {_chat(('user', 'Second'))}]", "", "In an array"),
        ('{"messages": 5}\n' + _chat(("user", "After a fault")), "", "After a fault"),
        ("no dataset", "", ""),
        (_chat(("user", "long " * 5000)), "", ""),
        (_chat(("user", "longer " * 50_000)), "", ""),
        ("[" * 100_000, "", ""),
    ],
)
def test_a_fine_tuned_model_opens_with_the_first_prompt_of_its_data(
    cast: Cast, redis_client: redis.Redis, content: str, system: str, prompt: str
) -> None:
    _model(cast, content)
    context = _playground(cast)
    assert (context["system"], context["prompt"]) == (system, prompt)


def test_examples_that_the_model_has_not_seen_come_first(cast: Cast, redis_client: redis.Redis) -> None:
    _model(cast, _chat(("user", "Seen")), _chat(("user", "Unseen")))
    context = _playground(cast)
    assert (context["prompt"], context["offer"].filename) == ("Unseen", "unseen.jsonl")


def test_a_prompt_of_the_address_stays_and_other_models_offer_none(
    cast: Cast, redis_client: redis.Redis
) -> None:
    _model(cast, _chat(("user", "Seen")))
    assert _playground(cast, p="Mine")["prompt"] == "Mine"
    assert _playground(cast, b="")["prompt"] == ""


def test_viewers_who_may_not_read_files_get_no_prompt(cast: Cast, redis_client: redis.Redis) -> None:
    _model(cast, _chat(("user", "Seen")))
    membership_set(tenant=cast.acme, user=cast.member, role="viewer", actor="t")
    assert _playground(cast)["prompt"] == ""


def test_a_file_that_was_deleted_or_can_not_be_read_offers_none(
    cast: Cast, redis_client: redis.Redis
) -> None:
    _model(cast, _chat(("user", "Seen")))
    file = StoredFile.objects.get()
    default_storage.delete(file.storage_name)
    assert _playground(cast)["prompt"] == ""
    file.delete()
    assert _playground(cast)["prompt"] == ""


def test_parameters_of_the_address_are_those_of_the_form(cast: Cast, redis_client: redis.Redis) -> None:
    _model(cast, "")
    context = _playground(cast, temperature="0.2", max_tokens="", seed="7")
    assert context["parameters"] == {"temperature": "0.2", "top_p": "", "max_tokens": "", "seed": "7"}
