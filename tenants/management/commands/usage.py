"""``manage.py usage``: usage records of requests, their sums, and the check that both agree."""

from __future__ import annotations

import csv
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence

from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import Handler, Options, Row, SubcommandsCommand, counted, examples
from backoffice.display.csv_cells import plain_cell
from backoffice.display.money import dollars
from tenants.management.arguments import newest, row_count
from tenants.management.lookup import key_by_prefix, tenant_filter
from tenants.management.record_options import (
    in_zone,
    period,
    period_arguments,
    record_arguments,
    record_filter,
)
from tenants.management.request_texts import report_text, requests_by_id
from tenants.management.rows import deviation_rows, id_text, sum_rows, usage_columns
from tenants.models import UsageRecord
from tenants.usage.filters import usage_list
from tenants.usage.rebuild import rollups_rebuild, rollups_verify
from tenants.usage.sums import MEASURES, Dimension, UsagePeriod, parse_dimensions, usage_groups

DEFAULT_BY = (Dimension.TENANT, Dimension.MODEL)
MAX_SHOWN_DEVIATIONS = 20


def dimensions(text: str) -> list[Dimension]:
    """Parse the names of dimensions, separated by commas. Raises ArgumentTypeError."""
    try:
        return parse_dimensions(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _row(record: UsageRecord, width: int | None) -> dict[str, object]:
    return {
        "started_at": record.started_at,
        "tenant": record.tenant.slug if record.tenant else None,
        "key": record.key.prefix if record.key else None,
        "model": record.model,
        "result": record.error_code or record.outcome,
        "tokens": record.prompt_tokens + record.completion_tokens + record.trained_tokens,
        "cost": f"${dollars(record.cost_microusd)}",
        "total_s": record.total_s,
        "request": id_text(record.request_id, width),
    }


class Command(SubcommandsCommand):
    """Show usage records and their sums."""

    help = "Show the usage of requests and of fine-tuning: records (list, show) and sums (sum)."

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, show, sum, verify and rebuild."""
        listing = add("list", self._list, "show usage records, newest first; --json prints all columns")
        record_arguments(listing)
        examples(listing, "--tenant acme --hours 24", "--key sk-cy-3nQv8ZtYb2Lx --outcome failed")
        show = add("show", self._show, "show all that is recorded about one request")
        show.add_argument("id", help="request id, its first 8 characters or more, or correlation id")
        examples(show, "req_3f2a9c1b")
        self._sum_arguments(add("sum", self._sum, "show sums by tenant, key, model, endpoint, day or hour"))
        verify = add("verify", self._verify, "compare the sums with the records that they are made of")
        examples(verify, "")
        rebuild = add("rebuild", self._rebuild, "make all sums from the records again, a day at a time")
        examples(rebuild, "")

    def _sum_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--by",
            type=dimensions,
            default=list(DEFAULT_BY),
            metavar="NAMES",
            help=f"one or more of {', '.join(Dimension)}, separated by commas; default: tenant,model",
        )
        parser.add_argument("--tenant", metavar="SLUG")
        parser.add_argument("--key", metavar="PREFIX", help="only this key: its prefix or all of it")
        parser.add_argument("--model", help="only this model")
        parser.add_argument("--endpoint", metavar="PATH", help="such as /v1/chat/completions")
        period_arguments(parser)
        parser.add_argument("--limit", type=row_count, help="only the first LIMIT lines")
        parser.add_argument("--csv", action="store_true", help="print CSV with all columns")
        examples(
            parser,
            "--by key --from 2026-03-01 --to 2026-03-31",
            "--by day,model --tenant acme --tz Asia/Kolkata --csv",
        )

    def _list(self, options: Options) -> None:
        records = newest(usage_list(record_filter(options)), options, self.stderr)
        if options["json"]:
            rows = [usage_columns(record) for record in records]
        else:
            rows = [in_zone(_row(record, self.terminal_width), options) for record in records]
        self.show(rows, options)

    def _show(self, options: Options) -> None:
        reports = requests_by_id(options["id"])
        rows = [usage_columns(report.usage) for report in reports if report.usage is not None]
        if not rows:
            raise CommandError("The request has no usage record; run `manage.py audit show` with its id.")
        if options["json"]:
            self.show(rows, options)
        else:
            self.stdout.write("\n\n".join(report_text(report) for report in reports))

    def _sum(self, options: Options) -> None:
        by: list[Dimension] = options["by"]
        groups = usage_groups(_period(options), by, zone=options["tz"], limit=options["limit"])
        is_complete = options["json"] or options["csv"]
        rows = sum_rows(groups, by, is_complete=is_complete)
        if options["csv"]:
            self._print_csv([*_label_names(rows, by), *MEASURES], rows)
        else:
            self.show(rows, options, nothing="No usage.")

    def _print_csv(self, names: Sequence[str], rows: Sequence[Row]) -> None:
        writer = csv.DictWriter(self.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in rows)

    def _verify(self, options: Options) -> None:
        deviations = rollups_verify()
        if options["json"] or deviations:
            rows = deviations if options["json"] else deviations[:MAX_SHOWN_DEVIATIONS]
            self.show(deviation_rows(rows, is_complete=options["json"]), options)
        else:
            self.stdout.write("All sums equal their records.")
        if deviations:
            verb = "differs" if len(deviations) == 1 else "differ"
            raise CommandError(
                f"{counted(len(deviations), 'sum')} {verb} from the records. Run `manage.py usage rebuild`."
            )

    def _rebuild(self, options: Options) -> None:
        count = rollups_rebuild()
        self.show_one({"sums": count}, options, f"{counted(count, 'sum')} made from the records.")


def _period(options: Options) -> UsagePeriod:
    tenant = tenant_filter(options["tenant"])
    since, until = period(options)
    return UsagePeriod(
        since=since,
        until=until,
        tenant_ids=None if tenant is None else [tenant.id],
        key_id=key_by_prefix(options["key"]).id if options["key"] else None,
        model=options["model"],
        endpoint=options["endpoint"],
    )


def _label_names(rows: Sequence[Row], by: Sequence[Dimension]) -> list[str]:
    """Return the names of the columns before the measures, which rows without usage lack."""
    if rows:
        return [name for name in rows[0] if name not in MEASURES]
    return [dimension.value for dimension in by]
