"""Facts merge into the same record regardless of order, repetition and batches."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_worker.protocol import codec
from inference_worker.protocol.codec import ProtocolError
from inference_worker.protocol.messages import (
    AttemptMetered,
    Fact,
    Meter,
    Outcome,
    RequestEnded,
    RequestFact,
    RequestStarted,
)
from inference_worker.protocol.prices import MAX_PRICE, Prices
from tenants.ledger.columns import audit_columns, state_of_audit, state_of_usage, usage_columns
from tenants.ledger.fact_decoding import fact_decode
from tenants.ledger.request_state import RequestState, fact_merge
from tenants.models import AuditRecord, UsageRecord
from tests.tenants.facts import end_fact, meter_fact, start_fact

texts = st.text(max_size=12)
seconds = st.floats(0, 1e4)
counts = st.integers(0, 10_000)
meters = st.builds(
    Meter,
    prompt_tokens=counts,
    completion_tokens=counts,
    cached_tokens=counts,
    queue_s=st.none() | seconds,
    first_token_s=st.none() | seconds,
    total_s=seconds,
)
uuids = st.uuids().map(str)
prices = st.integers(0, MAX_PRICE)


@st.composite
def request_facts(draw: st.DrawFn) -> list[RequestFact]:
    """Draw facts about one request: any of a start, an end and meters of attempts."""
    tenant_id, key_id, streamed = draw(uuids), draw(uuids), draw(st.booleans())
    common: dict[str, Any] = {
        "gateway_id": "gw",
        "correlation_id": draw(texts),
        "endpoint": "/v1/completions",
        "model": draw(texts),
    }
    at = draw(st.floats(1.6e9, 1.8e9))
    start = RequestStarted(
        request_id="r",
        tenant_id=tenant_id,
        key_id=key_id,
        streamed=streamed,
        started_at=at,
        prices=Prices(prompt=draw(prices), cached=draw(prices), completion=draw(prices)),
        **common,
    )
    attempt = draw(st.integers(0, 3))
    end = RequestEnded(
        request_id="r",
        tenant_id=tenant_id,
        key_id=key_id,
        key_prefix="abcdefghijkl",
        client_ip="192.0.2.1",
        method="POST",
        streamed=streamed,
        status=draw(st.sampled_from([200, 400, 500, 503])),
        outcome=draw(st.sampled_from(Outcome)),
        error_code=draw(st.none() | texts),
        attempt=attempt,
        worker_id=None,
        relayed=draw(st.none() | meters) if attempt else None,
        started_at=at,
        duration_s=draw(seconds),
        first_token_s=draw(st.none() | seconds) if attempt else None,
        **common,
    )
    attempt_meters = [
        AttemptMetered(
            request_id="r",
            attempt=number,
            worker_id=draw(texts),
            outcome=draw(st.sampled_from(Outcome)),
            meter=draw(meters),
            at=at + draw(seconds),
        )
        # Only dispatched requests have meters.
        for number in (sorted(draw(st.sets(st.integers(1, 3)))) if attempt else ())
    ]
    all_facts: list[RequestFact] = [start, end, *attempt_meters]
    return [fact for fact in all_facts if draw(st.booleans())] or [start]


def stored_columns(batches: list[list[RequestFact]]) -> tuple[dict[str, object] | None, object]:
    """Return usage and audit columns after storing each batch and loading the state before the next."""
    usage: dict[str, object] | None = None
    audit: AuditRecord | None = None
    for batch in batches:
        state = RequestState("r")
        if usage is not None:
            state = state_of_usage(UsageRecord(**usage))
        elif audit is not None:
            state = state_of_audit(audit)
        for fact in batch:
            state = fact_merge(state, fact)
            if isinstance(fact, RequestEnded) and audit is None:
                audit = AuditRecord(**asdict(audit_columns(fact)))
        if state.is_admitted:
            usage = usage_columns(state)
    return usage, audit and {f.attname: getattr(audit, f.attname) for f in AuditRecord._meta.concrete_fields}


@settings(max_examples=300, deadline=None)
@given(request_facts(), st.data())
def test_order_repetition_and_batches_make_no_difference(
    facts: list[RequestFact], data: st.DataObject
) -> None:
    deliveries = facts + data.draw(st.lists(st.sampled_from(facts), max_size=4))
    deliveries_drawn = data.draw(st.permutations(deliveries))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(deliveries_drawn)))))
    edges = [0, *cuts, len(deliveries_drawn)]
    batches = [deliveries_drawn[a:b] for a, b in itertools.pairwise(edges)]
    assert stored_columns([list(batch) for batch in batches]) == stored_columns([facts])


@settings(max_examples=200, deadline=None)
@given(request_facts())
def test_every_fact_survives_encoding(facts: list[RequestFact]) -> None:
    assert [fact_decode(codec.encode(fact)) for fact in facts] == facts


def columns(*facts: RequestFact) -> dict[str, object]:
    state = RequestState("r1")
    for fact in facts:
        state = fact_merge(state, fact)
    return usage_columns(state)


def test_the_last_attempts_meter_is_charged() -> None:
    row = columns(
        start_fact(), meter_fact(attempt=1, tokens=5), meter_fact(attempt=2, tokens=9), end_fact(attempt=1)
    )
    assert (row["meter_source"], row["metered_attempt"], row["worker_id"]) == ("worker", 1, "w-1")
    assert row["completion_tokens"] == 5


def test_before_the_end_the_highest_attempts_meter_is_charged() -> None:
    row = columns(start_fact(), meter_fact(attempt=2, tokens=9), meter_fact(attempt=1, tokens=5))
    assert (row["metered_attempt"], row["completion_tokens"], row["outcome"]) == (2, 9, "pending")


def test_without_a_meter_the_relayed_count_is_charged() -> None:
    relayed = Meter(prompt_tokens=4, completion_tokens=2, total_s=0.5)
    row = columns(start_fact(), meter_fact(attempt=1), end_fact(attempt=2, relayed=relayed))
    assert (row["meter_source"], row["metered_attempt"]) == ("gateway", 2)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (4, 2)


def test_an_undispatched_request_is_charged_nothing() -> None:
    row = columns(
        start_fact(), end_fact(attempt=0, outcome=Outcome.FAILED, status=503, error_code="no_worker")
    )
    assert (row["meter_source"], row["prompt_tokens"], row["completion_tokens"]) == ("none", 0, 0)
    assert (row["status"], row["error_code"]) == (503, "no_worker")


def test_a_record_has_timings_of_gateway_and_engine() -> None:
    row = columns(start_fact(), meter_fact(), end_fact())
    times = {name: row[name] for name in ("queue_s", "engine_first_token_s", "engine_total_s")}
    assert times == {"queue_s": 0.01, "engine_first_token_s": 0.1, "engine_total_s": 0.7}
    assert (row["first_token_s"], row["total_s"]) == (0.2, 1.25)
    assert UsageRecord(**row).tokens_per_s == pytest.approx(6 / 0.6)


PRICES = Prices(prompt=150_000, cached=75_000, completion=600_000)


def test_the_charged_meter_costs_what_the_prices_at_admission_say() -> None:
    row = columns(start_fact(prices=PRICES), meter_fact(tokens=7), end_fact())
    # 8 prompt tokens, 3 of them cached besides, and 7 completion tokens, rounded up: 5.625 micro-dollars
    assert (row["prompt_price"], row["cached_price"], row["completion_price"]) == (150_000, 75_000, 600_000)
    assert row["cost_microusd"] == 6
    late_start = columns(meter_fact(tokens=7), end_fact(), start_fact(prices=PRICES))
    assert late_start["cost_microusd"] == 6


def test_the_relayed_count_is_charged_until_the_meter_corrects_it() -> None:
    relayed = Meter(prompt_tokens=0, completion_tokens=100)
    facts: list[RequestFact] = [start_fact(prices=PRICES), end_fact(relayed=relayed)]
    assert columns(*facts)["cost_microusd"] == 60
    assert columns(*facts, meter_fact(tokens=7))["cost_microusd"] == 6


def test_uncharged_work_costs_nothing() -> None:
    end = msgspec.structs.replace(end_fact(outcome=Outcome.LOST, status=503), is_charged=False)
    row = columns(start_fact(prices=PRICES), meter_fact(), end)
    assert (row["is_charged"], row["cost_microusd"], row["prompt_price"]) == (False, 0, 150_000)


@pytest.mark.parametrize(
    ("invalid_fact", "reason"),
    [
        (start_fact(tenant_id="acme"), "UUID"),
        (end_fact(tenant_id="acme"), "UUID"),
        (start_fact(request_id=""), "request_id"),
        (start_fact(request_id="r" * 65), "request_id"),
        (start_fact(request_id="a\x00b"), "request_id"),
        (start_fact(gateway_id=""), "gateway_id"),
        (meter_fact(attempt=0), "attempt"),
        (meter_fact(tokens=-1), "completion_tokens"),
        (meter_fact(tokens=2**31), "completion_tokens"),
        (end_fact(attempt=2**15), "attempt"),
        (end_fact(status=-1), "status"),
        (end_fact(relayed=Meter(total_s=math.inf)), "total_s"),
        (end_fact(relayed=Meter(queue_s=math.nan)), "queue_s"),
        (start_fact(prices=Prices(completion=MAX_PRICE + 1)), "prices.completion"),
    ],
)
def test_a_fact_that_no_record_can_hold_is_rejected_with_the_reason(invalid_fact: Fact, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        fact_decode(codec.encode(invalid_fact))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        fact_decode(data)
