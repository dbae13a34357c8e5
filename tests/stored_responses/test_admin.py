"""The admin shows metadata of stored responses, never their contents."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.people import PASSWORD, Cast
from tests.stored_responses.test_lifecycle import store_response

pytestmark = pytest.mark.django_db


def test_pages_show_metadata_without_contents(cast: Cast, client: Client) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    assert client.login(username="root", password=PASSWORD)
    body = {"id": "resp_a", "status": "failed", "output": [{"id": "msg_2", "text": "canary-output"}]}
    store_response(cast, "a", body=body, input_items=[{"id": "msg_1", "text": "canary-input"}])
    for page in ("/admin/stored/storedresponse/", "/admin/stored/storedresponse/resp_a/change/"):
        response = client.get(page)
        assert response.status_code == 200
        text = response.content.decode()
        assert "acme" in text
        assert "Failed" in text or "failed" in text
        assert "canary" not in text
    for page in ("add/", "resp_a/delete/"):
        assert client.get(f"/admin/stored/storedresponse/{page}").status_code == 403
