"""Export of audit records with their seals: whole seals only, so that a file can be verified on its own.

The records are compared with their seals first. A file with deviations is written only on demand, and names
them: a comparison of the file alone could not find what was already missing in the database.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TextIO

from django.db import models, transaction

from backoffice.display.csv_cells import plain_cell
from tenants.audit_trail.changes import admin_audit_record
from tenants.audit_trail.digests import (
    FIRST_CHAIN,
    LATER_COLUMNS,
    SEALED_COLUMNS,
    TRAILS,
    TextMac,
    export_mac,
    plain_value,
)
from tenants.audit_trail.models import AuditSeal, Trail
from tenants.audit_trail.sealing import audit_seal
from tenants.audit_trail.verification import Finding, read_snapshot, selection_findings

EXPORT_ACTION = "audit.export"
CSV_END = "end"
CSV_DEVIATION = "deviation"
DEVIATION_COLUMNS = ("trail", "tenant_id", "first_id", "last_id", "fault")
SEAL_COLUMNS = (
    *("trail", "tenant_id", "number", "last_id", "record_count", "newest_at", "key_id", "digest", "chain"),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Records of one trail to export. ``tenant_id`` None: of all tenants; times None: without a bound.

    Records outside of the times are exported as well if they share a seal with one inside.
    """

    trail: Trail
    tenant_id: uuid.UUID | None = None
    start: dt.datetime | None = None
    end: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """Result of an export: the number of its records, and the deviations that it names."""

    records: int
    findings: Sequence[Finding]


class DamagedTrailError(Exception):
    """The records to export deviate from their seals. Nothing was written."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(findings)
        self.findings = findings


def audit_export(
    selection: Selection, output: TextIO, *, form: str, actor: str, accept_damage: bool = False
) -> Export:
    """Write the records as ``jsonl`` with their seals, or as ``csv`` with an HMAC in the last row.

    The export itself is audited before its first line is written. Raises DamagedTrailError if the records
    deviate from their seals, unless ``accept_damage``: then the file names each deviation.
    """
    audit_seal(selection.trail)
    is_selected = partial(_is_selected, selection)
    findings = selection_findings(selection.trail, selection.tenant_id, is_selected)
    if findings and not accept_damage:
        raise DamagedTrailError(findings)
    _record(selection, form, actor, len(findings))
    with read_snapshot():
        lines = _lines(selection)
        if form == "jsonl":
            count = _write_jsonl(lines, findings, output)
        else:
            count = _write_csv(lines, findings, selection.trail, output)
    return Export(count, findings)


@transaction.atomic
def _record(selection: Selection, form: str, actor: str, deviations: int) -> None:
    admin_audit_record(
        actor=actor,
        action=EXPORT_ACTION,
        object_id="audit",
        object_name=f"audit export: {selection.trail}",
        tenant_id=selection.tenant_id,
        after={
            "trail": selection.trail.value,
            "format": form,
            "from": selection.start.isoformat() if selection.start else None,
            "to": selection.end.isoformat() if selection.end else None,
            **({"deviations": deviations} if deviations else {}),
        },
    )


Line = dict[str, Any]


def _lines(selection: Selection) -> Iterator[Line]:
    """Yield a ``chain`` line per tenant, then its records, each group followed by its ``seal``."""
    seals = AuditSeal.objects.filter(trail=selection.trail)
    if selection.tenant_id is not None:
        seals = seals.filter(tenant_id=selection.tenant_id)
    tenant_ids = seals.order_by("tenant_id").values_list("tenant_id", flat=True).distinct()
    for tenant_id in list(tenant_ids):
        yield from _chain_lines(selection, tenant_id)


def _chain_lines(selection: Selection, tenant_id: uuid.UUID | None) -> Iterator[Line]:
    previous: AuditSeal | None = None
    is_open = False
    seals = AuditSeal.objects.filter(trail=selection.trail, tenant_id=tenant_id).order_by("number")
    for seal in seals.iterator():
        if _is_selected(selection, seal):
            if not is_open:
                yield _chain_line(selection.trail, tenant_id, previous)
                is_open = True
            yield from _records(selection.trail, tenant_id, previous.last_id if previous else None, seal)
            yield {"type": "seal", **{name: plain_value(getattr(seal, name)) for name in SEAL_COLUMNS}}
        elif is_open:
            break
        previous = seal


def _is_selected(selection: Selection, seal: AuditSeal) -> bool:
    """Return whether a seal, whose records are all of one day in UTC, can cover a selected record."""
    if seal.purged_at is not None:
        return False
    day = seal.newest_at.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    starts_in_time = selection.end is None or day < selection.end
    return starts_in_time and (selection.start is None or seal.newest_at >= selection.start)


def _chain_line(trail: Trail, tenant_id: uuid.UUID | None, previous: AuditSeal | None) -> Line:
    return {
        "type": "chain",
        "trail": trail.value,
        "tenant_id": plain_value(tenant_id),
        "previous_number": previous.number if previous else 0,
        "previous_chain": previous.chain if previous else FIRST_CHAIN,
    }


def _records(
    trail: Trail, tenant_id: uuid.UUID | None, after_id: int | None, seal: AuditSeal
) -> Iterator[Line]:
    rows: models.QuerySet[Any] = TRAILS[trail]._default_manager.filter(
        tenant_id=tenant_id, id__lte=seal.last_id
    )
    if after_id is not None:
        rows = rows.filter(id__gt=after_id)
    columns = (*SEALED_COLUMNS[trail], *LATER_COLUMNS[trail])
    for row in rows.order_by("id").iterator():
        yield {"type": "record", **{name: plain_value(getattr(row, name)) for name in columns}}


def _deviation_line(finding: Finding) -> Line:
    return {"type": "deviation", **{name: plain_value(getattr(finding, name)) for name in DEVIATION_COLUMNS}}


def _write_jsonl(lines: Iterable[Line], findings: Sequence[Finding], output: TextIO) -> int:
    records, line_count, chains = 0, 0, []
    deviations = [_deviation_line(finding) for finding in findings]
    for line in chain(lines, deviations):
        output.write(json.dumps(line, ensure_ascii=False) + "\n")
        line_count += 1
        records += line["type"] == "record"
        if line["type"] == "seal":
            chains.append(line["chain"])
    end = {"type": "end", "lines": line_count, "records": records}
    # Without it, nobody could tell that whole chains or the last seals were cut off.
    output.write(json.dumps({**end, **export_mac(line_count, records, chains, deviations)}) + "\n")
    return records


def _write_csv(lines: Iterable[Line], findings: Sequence[Finding], trail: Trail, output: TextIO) -> int:
    text = _SealedText(output)
    writer = csv.writer(text, lineterminator="\n")
    columns = (*SEALED_COLUMNS[trail], *LATER_COLUMNS[trail])
    writer.writerow(columns)
    count = 0
    for line in lines:
        if line["type"] == "record":
            writer.writerow([_cell(line[name]) for name in columns])
            count += 1
    for line in map(_deviation_line, findings):
        writer.writerow([CSV_DEVIATION, *(line[name] for name in DEVIATION_COLUMNS)])
    writer.writerow([CSV_END, count, text.mac.key_id, text.mac.hexdigest()])
    return count


class _SealedText:
    """A text output that computes an HMAC of everything written to it."""

    def __init__(self, output: TextIO) -> None:
        self._output, self.mac = output, TextMac()

    def write(self, text: str) -> int:
        self.mac.add(text)
        return self._output.write(text)


def _cell(value: object) -> object:
    """Return a value for a spreadsheet; documents as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else plain_cell(value)
