"""Charts of the last day: requests and failures, tokens. Each has a table with the same values."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from tenants.usage.sums import UsageSum

# The legend in admin.css has the same colours.
COLOURS = {
    "main": "var(--color-primary-600)",
    "neutral": "var(--color-base-400)",
    "bad": "var(--color-red-500)",
    "other": "var(--color-orange-500)",
}
Series = Sequence[tuple["dt.date | dt.datetime", UsageSum]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A bar chart in Chart.js's format, and its values as a table. ``legend``: names with their CSS class."""

    title: str | Promise
    data: str
    headings: list[str]
    legend: list[tuple[str, str]]
    rows: list[tuple[str, list[int]]]


def day_charts(series: Series) -> list[Chart]:
    """Return the charts of hourly sums, with hours in UTC."""
    return [
        _chart(
            _("Requests"),
            series,
            {
                _("not failed"): [hour.requests - hour.failures for _at, hour in series],
                _("failed"): [hour.failures for _at, hour in series],
            },
            ("main", "bad"),
        ),
        _chart(
            _("Tokens"),
            series,
            {
                _("prompt"): [hour.prompt_tokens for _at, hour in series],
                _("completion"): [hour.completion_tokens for _at, hour in series],
                _("trained"): [hour.trained_tokens for _at, hour in series],
            },
            ("neutral", "main", "other"),
        ),
    ]


def _chart(title: str, series: Series, sets: dict[str, list[int]], tones: tuple[str, ...]) -> Chart:
    labels = [_label(at) for at, _hour in series]
    datasets = [
        {
            "label": name,
            "data": values,
            "backgroundColor": COLOURS[tone],
            "stack": "all",
            "displayYAxis": True,
        }
        for (name, values), tone in zip(sets.items(), tones, strict=True)
    ]
    rows = [(label, list(values)) for label, *values in zip(labels, *sets.values(), strict=True)]
    legend = list(zip(sets, tones, strict=True))
    return Chart(title, json.dumps({"labels": labels, "datasets": datasets}), list(sets), legend, rows)


def _label(at: dt.date | dt.datetime) -> str:
    return f"{at:%H:%M}"
