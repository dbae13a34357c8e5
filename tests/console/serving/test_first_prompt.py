"""The prompt with which the playground opens: the first of the data of a fine-tuned model."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from django.core.files.storage import default_storage
from django.test import Client

from tenants.files.models import StoredFile
from tenants.members.services import membership_set
from tests.console.harness.tuned_models import MODEL, chat_line, tuned_model
from tests.people import Cast

pytestmark = pytest.mark.django_db


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
        (chat_line(("user", "Is it late?")), "", "Is it late?"),
        (
            chat_line(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hm"), ("user", "No")),
            "Be kind.",
            "Hi",
        ),
        ('{"prompt": "2 + 2 =", "completion": " 4"}', "", "2 + 2 ="),
        (f"[{chat_line(('user', 'In an array'))}, {chat_line(('user', 'Second'))}]", "", "In an array"),
        ('{"messages": 5}\n' + chat_line(("user", "After a fault")), "", "After a fault"),
        ("no dataset", "", ""),
        (chat_line(("user", "long " * 5000)), "", ""),
        (chat_line(("user", "longer " * 50_000)), "", ""),
        ("[" * 100_000, "", ""),
    ],
)
def test_a_fine_tuned_model_opens_with_the_first_prompt_of_its_data(
    cast: Cast, redis_client: redis.Redis, content: str, system: str, prompt: str
) -> None:
    tuned_model(cast, content)
    context = _playground(cast)
    assert (context["system"], context["prompt"]) == (system, prompt)


def test_examples_that_the_model_has_not_seen_come_first(cast: Cast, redis_client: redis.Redis) -> None:
    tuned_model(cast, chat_line(("user", "Seen")), chat_line(("user", "Unseen")))
    context = _playground(cast)
    assert (context["prompt"], context["offer"].filename) == ("Unseen", "unseen.jsonl")


def test_a_prompt_of_the_address_stays_and_other_models_offer_none(
    cast: Cast, redis_client: redis.Redis
) -> None:
    tuned_model(cast, chat_line(("user", "Seen")))
    assert _playground(cast, p="Mine")["prompt"] == "Mine"
    assert _playground(cast, b="")["prompt"] == ""


def test_viewers_who_may_not_read_files_get_no_prompt(cast: Cast, redis_client: redis.Redis) -> None:
    tuned_model(cast, chat_line(("user", "Seen")))
    membership_set(tenant=cast.acme, user=cast.member, role="viewer", actor="t")
    assert _playground(cast)["prompt"] == ""


def test_a_file_that_was_deleted_or_can_not_be_read_offers_none(
    cast: Cast, redis_client: redis.Redis
) -> None:
    tuned_model(cast, chat_line(("user", "Seen")))
    file = StoredFile.objects.get()
    default_storage.delete(file.storage_name)
    assert _playground(cast)["prompt"] == ""
    file.delete()
    assert _playground(cast)["prompt"] == ""


def test_parameters_of_the_address_are_those_of_the_form(cast: Cast, redis_client: redis.Redis) -> None:
    tuned_model(cast, "")
    context = _playground(cast, temperature="0.2", max_tokens="", seed="7")
    assert context["parameters"] == {"temperature": "0.2", "top_p": "", "max_tokens": "", "seed": "7"}
