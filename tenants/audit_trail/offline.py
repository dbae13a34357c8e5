"""Verification of an exported audit trail without the database; the platform's secret key is needed."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

from tenants.audit_trail.digests import TextMac, export_mac, is_key_known, seal_chain
from tenants.audit_trail.export import CSV_DEVIATION, CSV_END, DEVIATION_COLUMNS, SEAL_COLUMNS
from tenants.audit_trail.models import AuditSeal, Trail
from tenants.audit_trail.verification import (
    CHANGED_SEAL,
    MISSING_SEALS,
    UNKNOWN_KEY,
    UNSEALED_RECORDS,
    Finding,
    records_fault,
)

MAX_CELL = 2**31 - 1  # characters; the csv module allows 131,072 by default


@dataclass(slots=True)
class FileVerification:
    """Result for a file."""

    records: int = 0
    seals: int = 0
    findings: list[Finding] = field(default_factory=list)


class NotAnExportError(ValueError):
    """The file is not an export. The message names the line at fault."""


@dataclass(slots=True)
class _Chain:
    """The chain of a tenant, as far as it has been read. ``records``: those after the last seal."""

    trail: Trail
    tenant_id: str | None
    number: int
    chain: str
    records: list[Any] = field(default_factory=list)


def file_verify(lines: Iterable[str]) -> FileVerification:
    """Compare the records of an export with its seals, and these with each other.

    The findings include the deviations that the export found in the database. Raises NotAnExportError.
    """
    result = FileVerification()
    chain: _Chain | None = None
    chains: list[str] = []
    deviations: list[dict[str, Any]] = []
    count, end = 0, None
    for count, line in enumerate(_parsed(lines), start=1):
        match line["type"]:
            case "chain":
                result.findings += _unsealed(chain)
                trail = Trail(line["trail"])
                chain = _Chain(trail, line["tenant_id"], line["previous_number"], line["previous_chain"])
            case "record" if chain is not None:
                chain.records.append(SimpleNamespace(**line))
                result.records += 1
            case "seal" if chain is not None:
                result.findings += _check_seal(chain, line)
                chains.append(line["chain"])
                result.seals += 1
            case "deviation":
                deviations.append(line)
            case "end":
                end = line
            case _:
                raise NotAnExportError(f"line {count} is out of place")
    result.findings += _unsealed(chain)
    result.findings += map(_source_finding, deviations)
    result.findings += _check_end(end, partial(export_mac, count - 1, result.records, chains, deviations))
    return result


def csv_verify(lines: Iterable[str]) -> FileVerification:
    """Compare the text of a CSV export with the HMAC in its last row. Raises NotAnExportError."""
    *text, last = list(lines) or [""]
    match next(_rows([last]), []):
        case [end, count, key_id, mac] if end == CSV_END and count.isdecimal():
            pass
        case _:
            raise NotAnExportError("the last row is not the end of an export")
    result = FileVerification(records=int(count))
    if not is_key_known(key_id):
        result.findings.append(_file_finding(UNKNOWN_KEY))
        return result
    text_mac = TextMac(key_id)
    for line in text:
        text_mac.add(line)
    deviations = [row for row in _rows(text) if row[:1] == [CSV_DEVIATION]]
    row_count = sum(1 for _ in _rows(text)) - len(deviations)
    if text_mac.hexdigest() != mac or row_count != result.records + 1:
        result.findings.append(_file_finding("the file was changed"))
    else:
        result.findings += [
            _source_finding(dict(zip(DEVIATION_COLUMNS, row[1:], strict=True))) for row in deviations
        ]
    return result


def _rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the rows of a csv file, with cells of any length."""
    limit = csv.field_size_limit(MAX_CELL)
    try:
        yield from csv.reader(lines)
    finally:
        csv.field_size_limit(limit)


def _parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            line["type"]
        except (ValueError, TypeError, KeyError):
            raise NotAnExportError(f"line {number} is not part of an export in JSON lines") from None
        yield line


def _file_finding(fault: str) -> Finding:
    return Finding("file", None, None, None, fault)


def _source_finding(values: Mapping[str, Any]) -> Finding:
    """Return a deviation that the export found in the database. In CSV, all values are texts."""
    first_id, last_id = (int(values[name]) if values[name] else None for name in ("first_id", "last_id"))
    tenant_id = uuid.UUID(values["tenant_id"]) if values["tenant_id"] else None
    return Finding(values["trail"], tenant_id, first_id, last_id, f"before the export, {values['fault']}")


def _finding(chain: _Chain, last_id: int, fault: str) -> Finding:
    first_id = chain.records[0].id if chain.records else last_id
    tenant_id = uuid.UUID(chain.tenant_id) if chain.tenant_id else None
    return Finding(chain.trail, tenant_id, first_id, last_id, fault)


def _check_seal(chain: _Chain, line: dict[str, Any]) -> Iterator[Finding]:
    seal = AuditSeal(**{name: line[name] for name in SEAL_COLUMNS})
    fault = _fault(chain, seal)
    if fault:
        yield _finding(chain, seal.last_id, fault)
    chain.number, chain.chain, chain.records = seal.number, seal.chain, []


def _fault(chain: _Chain, seal: AuditSeal) -> str:
    if not is_key_known(seal.key_id):
        return UNKNOWN_KEY
    if seal.number != chain.number + 1:
        return MISSING_SEALS
    if (seal.trail, seal.tenant_id) != (chain.trail, chain.tenant_id):
        return "the seal is of another chain"
    if seal.chain != seal_chain(seal, chain.chain):
        return CHANGED_SEAL
    return records_fault(chain.trail, seal, chain.records)


def _unsealed(chain: _Chain | None) -> list[Finding]:
    if chain is None or not chain.records:
        return []
    return [_finding(chain, chain.records[-1].id, UNSEALED_RECORDS)]


def _check_end(end: dict[str, Any] | None, mac: Callable[[str], Mapping[str, str]]) -> Iterator[Finding]:
    """Compare the last line with ``mac`` of its key's id."""
    if end is None:
        yield _file_finding("the end of the file is missing")
    elif not is_key_known(end["key_id"]):
        yield _file_finding(UNKNOWN_KEY)
    elif end["mac"] != mac(end["key_id"])["mac"]:
        yield _file_finding("lines were deleted or inserted")
