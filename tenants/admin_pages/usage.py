"""Admin pages of usage records and their sums."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import display
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from backoffice.admin_base import view_action
from backoffice.display.money import dollars
from backoffice.display.times import seconds_text
from backoffice.list_filters import RelatedRowFilter
from tenants.admin_pages.records import ModelFilter, RecordAdmin, exact_moment, seconds
from tenants.admin_pages.usage_sums import SumsForm, SumsPage
from tenants.models import UsageRecord


class UsageAdmin(RecordAdmin[UsageRecord]):
    """Usage records of requests."""

    first_token = seconds(UsageRecord, "first_token_s")
    total = seconds(UsageRecord, "total_s")
    queue_time = seconds(UsageRecord, "queue_s")
    engine_first_token = seconds(UsageRecord, "engine_first_token_s")
    engine_total = seconds(UsageRecord, "engine_total_s")

    start_time = exact_moment(UsageRecord, "started_at")
    end_time = exact_moment(UsageRecord, "ended_at")
    settlement_time = exact_moment(UsageRecord, "settled_at")

    list_display = (
        *("started_at", "tenant", "key_begins_with", "model", "outcome_label", "prompt_tokens"),
        *("completion_tokens", "cost", "first_token", "total"),
    )
    list_filter = (
        *("started_at", "outcome", "state", ModelFilter),
        *(("tenant", RelatedRowFilter), ("key", RelatedRowFilter)),
    )
    actions_list = ("sums",)
    search_fields = ("request_id__exact", "correlation_id__exact")
    search_help_text = _("Complete request or correlation id")
    readonly_fields = (
        *("first_token", "total", "queue_time", "engine_first_token", "engine_total", "speed"),
        *("start_time", "end_time", "settlement_time", "cost", "prices", "attempt_lines"),
    )
    fieldsets = (
        (None, {"fields": ("request_id", "correlation_id", "tenant", "key")}),
        (_("Request"), {"fields": ("model", "endpoint", "streamed")}),
        (_("Result"), {"fields": ("outcome", "status", "error_code", "state", "settlement_time")}),
        (
            _("Tokens and cost"),
            {
                "fields": (
                    *("prompt_tokens", "cached_tokens", "completion_tokens", "trained_tokens"),
                    *("meter_source", "is_charged", "wasted_tokens", "prices", "cost"),
                )
            },
        ),
        (
            _("Times"),
            {
                "fields": (
                    *("start_time", "end_time", "queue_time", "first_token", "total"),
                    *("engine_first_token", "engine_total", "speed"),
                )
            },
        ),
        (
            _("Gateway and worker"),
            {"fields": ("gateway_id", "worker_id", "attempt", "metered_attempt", "attempt_lines")},
        ),
    )

    @display(description=_("tokens per second"))
    def speed(self, record: UsageRecord) -> str:
        """Return the generation speed at the engine."""
        return "-" if record.tokens_per_s is None else f"{record.tokens_per_s:.1f}"

    @display(description=_("attempts"), empty_value="-")
    def attempt_lines(self, record: UsageRecord) -> SafeString | None:
        """Return one line per attempt: its worker, outcome, tokens and time."""
        lines = [(_attempt_line(number, meter),) for number, meter in sorted(record.attempts.items())]
        return format_html_join("", "<div>{}</div>", lines) if lines else None

    @display(description=_("cost"), ordering="cost_microusd")
    def cost(self, record: UsageRecord) -> str:
        """Return the cost in dollars."""
        return f"${dollars(record.cost_microusd)}"

    @display(description=_("prices per million tokens"), empty_value="-")
    def prices(self, record: UsageRecord) -> str | None:
        """Return the prices at admission that are not zero."""
        prices = {
            _("prompt"): record.prompt_price,
            _("cached"): record.cached_price,
            _("completion"): record.completion_price,
            _("training"): record.training_price,
        }
        return ", ".join(f"{name} ${dollars(price)}" for name, price in prices.items() if price) or None

    @view_action("sums", _("Sums"), icon="bar_chart")
    def sums(self, request: HttpRequest) -> HttpResponse:
        """Show sums by key, tenant, model or endpoint."""
        form = SumsForm(request.GET, self.visible_tenants(request))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "form": form,
            "title": _("Usage"),
        }
        if form.is_valid():
            context |= SumsPage.of_form(form).context(_viewable(request))
        return TemplateResponse(request, "admin/tenants/usagerecord/sums.html", context)


def _attempt_line(number: str, meter: dict[str, Any]) -> str:
    values = {"number": number, "worker": meter["worker_id"], "outcome": meter["outcome"]}
    values |= {"prompt": meter["prompt_tokens"], "completion": meter["completion_tokens"]}
    values["time"] = seconds_text(meter["total_s"])
    text = gettext("%(number)s: %(worker)s, %(outcome)s, %(prompt)s + %(completion)s tokens, %(time)s")
    return text % values


def _viewable(request: HttpRequest) -> set[str]:
    """Return the names of the models whose pages the user may view."""
    names = ("tenant", "apikey", "usagerecord")
    return {name for name in names if request.user.has_perm(f"tenants.view_{name}")}
