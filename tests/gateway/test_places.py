"""Places in a gateway process: bounded, given back, and no tenant's alone."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from api.gateway.admit import Places, TenantPlaces
from api.openai.errors import ApiError


@pytest.mark.case("serving.21")
def test_a_place_is_given_back_however_the_request_ends() -> None:
    places = Places(1)
    with pytest.raises(ZeroDivisionError), places.take():
        raise ZeroDivisionError
    with places.take(), pytest.raises(ApiError) as caught, places.take():
        pass
    assert caught.value.code == "overloaded"
    assert caught.value.headers["retry-after"]
    assert places.taken == 0


def test_a_tenant_that_reads_too_many_bodies_stops_no_other() -> None:
    readers = TenantPlaces(2)
    with ExitStack() as held:
        held.enter_context(readers.take("acme"))
        held.enter_context(readers.take("acme"))
        with pytest.raises(ApiError), readers.take("acme"):
            pass
        with readers.take("globex"):
            pass
    with readers.take("acme"), readers.take("acme"):
        pass
