"""The admin shows that there are stored responses, and nothing of what they say."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.people import PASSWORD, Cast
from tests.stored_responses.test_stored import stored

pytestmark = pytest.mark.django_db


def test_pages_have_metadata_and_no_contents(cast: Cast, client: Client) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    assert client.login(username="root", password=PASSWORD)
    body = {"id": "resp_a", "status": "failed", "output": ["canary-output"]}
    stored(cast, "a", body=body, input_items=[{"text": "canary-input"}])
    for page in ("/admin/stored/storedresponse/", "/admin/stored/storedresponse/resp_a/change/"):
        answer = client.get(page)
        assert answer.status_code == 200
        text = answer.content.decode()
        assert "acme" in text
        assert "Failed" in text or "failed" in text
        assert "canary" not in text
    for page in ("add/", "resp_a/delete/"):
        assert client.get(f"/admin/stored/storedresponse/{page}").status_code == 403
