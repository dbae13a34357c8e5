"""Facts fold to the same record in any order, repeated or not, in whatever batches."""

from __future__ import annotations

import itertools
import math

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
    RequestStarted,
)
from tenants.ledger.facts import fact_read
from tenants.ledger.fold import Known, audit_of, fact_fold
from tenants.ledger.record import audit_known, usage_columns, usage_known
from tenants.models import AuditRecord, UsageRecord
from tests.tenants.facts import ended, metered, started

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


@st.composite
def stories(draw: st.DrawFn) -> list[Fact]:
    """All facts about one request: any of a start, an end, and counts of attempts."""
    tenant_id, key_id, streamed = draw(uuids), draw(uuids), draw(st.booleans())
    same = {
        "gateway_id": "gw",
        "correlation_id": draw(texts),
        "endpoint": "/v1/completions",
        "model": draw(texts),
    }
    at = draw(st.floats(1.6e9, 1.8e9))
    start = RequestStarted(
        request_id="r", tenant_id=tenant_id, key_id=key_id, streamed=streamed, started_at=at, **same
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
        **same,
    )
    counted = [
        AttemptMetered(
            request_id="r",
            attempt=number,
            worker_id=draw(texts),
            outcome=draw(st.sampled_from(Outcome)),
            meter=draw(meters),
            at=at + draw(seconds),
        )
        # Where nothing was dispatched there is no worker that could count.
        for number in (sorted(draw(st.sets(st.integers(1, 3)))) if attempt else ())
    ]
    possible: list[Fact] = [start, end, *counted]
    return [fact for fact in possible if draw(st.booleans())] or [start]


def stored(batches: list[list[Fact]]) -> tuple[dict[str, object] | None, object]:
    """Usage columns and audit after each batch went through the columns of the database's rows."""
    usage: dict[str, object] | None = None
    audit: AuditRecord | None = None
    for batch in batches:
        known = Known("r")
        if usage is not None:
            known = usage_known(UsageRecord(**usage))
        elif audit is not None:
            known = audit_known(audit)
        for fact in batch:
            known = fact_fold(known, fact)
            if isinstance(fact, RequestEnded) and audit is None:
                columns = {name: getattr(audit_of(fact), name) for name in audit_of(fact).__slots__}
                audit = AuditRecord(**columns)
        if known.admitted:
            usage = usage_columns(known)
    return usage, audit and {f.attname: getattr(audit, f.attname) for f in AuditRecord._meta.concrete_fields}


@settings(max_examples=300, deadline=None)
@given(stories(), st.data())
def test_order_repetition_and_batches_make_no_difference(facts: list[Fact], data: st.DataObject) -> None:
    repeated = facts + data.draw(st.lists(st.sampled_from(facts), max_size=4))
    shuffled = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(shuffled)))))
    edges = [0, *cuts, len(shuffled)]
    batches = [shuffled[a:b] for a, b in itertools.pairwise(edges)]
    assert stored([list(batch) for batch in batches]) == stored([facts])


@settings(max_examples=200, deadline=None)
@given(stories())
def test_every_fact_survives_its_bytes(facts: list[Fact]) -> None:
    assert [fact_read(codec.encode(fact)) for fact in facts] == facts


def columns(*facts: Fact) -> dict[str, object]:
    known = Known("r1")
    for fact in facts:
        known = fact_fold(known, fact)
    return usage_columns(known)


def test_the_worker_of_the_named_attempt_is_the_meter() -> None:
    row = columns(started(), metered(attempt=1, tokens=5), metered(attempt=2, tokens=9), ended(attempt=1))
    assert (row["meter_source"], row["metered_attempt"], row["worker_id"]) == ("worker", 1, "w-1")
    assert row["completion_tokens"] == 5


def test_before_the_end_is_known_the_highest_attempt_counts() -> None:
    row = columns(started(), metered(attempt=2, tokens=9), metered(attempt=1, tokens=5))
    assert (row["metered_attempt"], row["completion_tokens"], row["outcome"]) == (2, 9, "pending")


def test_without_a_workers_count_what_was_relayed_stands_in() -> None:
    relayed = Meter(prompt_tokens=4, completion_tokens=2, total_s=0.5)
    row = columns(started(), metered(attempt=1), ended(attempt=2, relayed=relayed))
    assert (row["meter_source"], row["metered_attempt"]) == ("gateway", 2)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (4, 2)


def test_a_request_that_was_never_dispatched_used_nothing() -> None:
    row = columns(started(), ended(attempt=0, outcome=Outcome.FAILED, status=503, error_code="no_worker"))
    assert (row["meter_source"], row["prompt_tokens"], row["completion_tokens"]) == ("none", 0, 0)
    assert (row["status"], row["error_code"]) == (503, "no_worker")


def test_a_record_has_the_times_of_client_and_engine() -> None:
    row = columns(started(), metered(), ended())
    times = {name: row[name] for name in ("queue_s", "engine_first_token_s", "engine_total_s")}
    assert times == {"queue_s": 0.01, "engine_first_token_s": 0.1, "engine_total_s": 0.7}
    assert (row["first_token_s"], row["total_s"]) == (0.2, 1.25)
    assert UsageRecord(**row).tokens_per_s == pytest.approx(6 / 0.6)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (started(tenant_id="acme"), "UUID"),
        (ended(tenant_id="acme"), "UUID"),
        (started(request_id=""), "request_id"),
        (started(request_id="r" * 65), "request_id"),
        (started(request_id="a\x00b"), "request_id"),
        (started(gateway_id=""), "gateway_id"),
        (metered(attempt=0), "attempt"),
        (metered(tokens=-1), "completion_tokens"),
        (metered(tokens=2**31), "completion_tokens"),
        (ended(attempt=2**15), "attempt"),
        (ended(status=-1), "status"),
        (ended(relayed=Meter(total_s=math.inf)), "total_s"),
        (ended(relayed=Meter(queue_s=math.nan)), "queue_s"),
    ],
)
def test_a_fact_that_no_record_can_hold_is_refused_with_the_reason(wrong: Fact, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        fact_read(codec.encode(wrong))


@given(st.binary(max_size=60))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        fact_read(data)
