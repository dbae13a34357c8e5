"""One request as text: all that usage and audit records say about it."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.management.base import CommandError

from backoffice.command_base import printable
from backoffice.display.money import dollars
from backoffice.display.times import exact_time, seconds_text
from tenants.models import AuditRecord, UsageRecord
from tenants.usage.requests import RequestReport, request_reports

NAME_WIDTH = 18


def requests_by_id(text: str) -> list[RequestReport]:
    """Return the requests that an id identifies. Raises CommandError if there is none."""
    if reports := request_reports(text):
        return reports
    raise CommandError(
        f"No request has the id {printable(text[:200])}. Pass a request id, at least 8 characters of its "
        "beginning, or the X-Request-ID that the client sent."
    )


def report_text(report: RequestReport) -> str:
    """Return a request as lines of ``name value``, without what is unknown."""
    lines = [f"{name:<{NAME_WIDTH}}{printable(value)}" for name, value in report_lines(report) if value]
    return "\n".join(lines)


def report_lines(report: RequestReport) -> Iterator[tuple[str, str]]:
    """Yield what the records say, by name."""
    record = report.record
    yield "request id", report.request_id
    if record.correlation_id != report.request_id:
        yield "correlation id", record.correlation_id
    yield "tenant", report.tenant.slug if report.tenant else ""
    yield "key", _key(report)
    if report.audit is not None:
        yield from _audit_lines(report.audit)
    yield "endpoint", record.endpoint
    yield "model", record.model
    yield "outcome", _outcome(record)
    if (explanation := report.explanation) is not None:
        yield "message", explanation.message
        yield "remedy", explanation.remedy
    if report.usage is not None:
        yield from _usage_lines(report.usage)


def _key(report: RequestReport) -> str:
    if report.record.key is not None:
        return f"{report.record.key.prefix} ({report.record.key.name})"
    return report.audit.key_prefix if report.audit else ""


def _outcome(record: UsageRecord | AuditRecord) -> str:
    return " ".join(filter(None, [record.outcome, str(record.status or ""), record.error_code]))


def _audit_lines(audit: AuditRecord) -> Iterator[tuple[str, str]]:
    yield "time", f"{exact_time(audit.at)}, {seconds_text(audit.duration_s)}"
    yield "client address", audit.client_ip or ""
    yield "method", audit.method
    yield "requested model", audit.requested_model
    yield "parameter", audit.error_param


def _usage_lines(usage: UsageRecord) -> Iterator[tuple[str, str]]:
    yield "started", exact_time(usage.started_at)
    if usage.trained_tokens or usage.training_price:
        yield "tokens", f"{usage.trained_tokens} trained"
    else:
        cached_text = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
        yield "tokens", f"{usage.prompt_tokens} prompt{cached_text}, {usage.completion_tokens} completion"
    yield "wasted tokens", str(usage.wasted_tokens or "")
    yield "cost", f"${dollars(usage.cost_microusd)}"
    times = {"queue": usage.queue_s, "first token": usage.first_token_s, "total": usage.total_s}
    texts = (f"{name} {seconds_text(value)}" for name, value in times.items() if value is not None)
    yield "times", ", ".join(texts)
    yield "gateway", usage.gateway_id
    yield "worker", usage.worker_id
    yield "attempts", str(usage.attempt or "")
    yield "accounting", f"{usage.state}, counted by {usage.meter_source}"
