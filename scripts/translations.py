"""Keeps the Simplified Chinese catalogue of the pages complete, in pure Python.

Usage: scripts/translations.py            adds new texts to the catalogue, removes old ones, compiles it
       scripts/translations.py --check    tells what is missing, superfluous, misfitting or not compiled
Texts come from our rooms, and from Unfold as far as Django's own catalogues don't know them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parents[1]
LOCALE = "zh_Hans"
PO = ROOT / "cyllm_site" / "locale" / LOCALE / "LC_MESSAGES" / "django.po"
ROOMS = ("cyllm_site", "api", "training", "tenants", "inference_worker", "backoffice", "templates")
# What Unfold offers and no page of ours uses.
UNUSED = (
    *("contrib/constance", "contrib/crispy", "contrib/forms", "contrib/guardian", "contrib/import_export"),
    *("contrib/inlines", "contrib/location_field", "contrib/simple_history", "templates/unfold_crispy"),
)
KEYWORDS = {
    **DEFAULT_KEYWORDS,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
HEADER = "# Simplified Chinese texts of the pages of CY-LLM; scripts/translations.py keeps the list of texts."


def package(name: str) -> Path:
    """The folder of an installed package."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed")
    return Path(spec.origin).parent


def sources(folder: Path, unused: tuple[str, ...] = ()) -> Iterator[Path]:
    """Python files and templates below the folder, in order."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).as_posix()
        if path.suffix in (".py", ".html") and not inside.startswith(unused):
            yield path


def texts(path: Path) -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    """The translatable texts of a file, with their contexts."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        # Django turns a template into calls of gettext among blanks; brackets make it one line of Python.
        source = f"({templatize(source, origin=str(path))})"
    for _, text, _, context in extract("python", io.BytesIO(source.encode()), keywords=KEYWORDS):
        yield text, context


def catalogue(path: Path) -> Catalog:
    """A catalogue from its file; an empty one if there is none."""
    if not path.is_file():
        people = {
            "msgid_bugs_address": "issues of the project",
            "last_translator": "CY-LLM",
            "language_team": "CY-LLM",
        }
        now = datetime.now(UTC)
        return Catalog(
            LOCALE,
            header_comment=HEADER,
            project="CY-LLM",
            version="1",
            revision_date=now,
            fuzzy=False,
            **people,
        )
    with path.open("rb") as file:
        return read_po(file, locale=LOCALE)


def known_to_django() -> set[str]:
    """The texts that Django translates itself."""
    found = package("django").rglob(f"locale/{LOCALE}/LC_MESSAGES/django.po")
    return {text(message) for path in found for message in catalogue(path) if translated(message)}


def text(message: Message) -> str:
    """The English text, the singular where there are two."""
    return message.id if isinstance(message.id, str) else message.id[0]


def translated(message: Message) -> bool:
    """Whether there is a translation, and a person has not marked it as doubtful."""
    strings = [message.string] if isinstance(message.string, str) else list(message.string or [""])
    return all(strings) and not message.fuzzy


def wanted() -> Catalog:
    """Every text that a page of ours can show."""
    template = Catalog()
    for room in ROOMS:
        for path in sources(ROOT / room):
            for found, context in texts(path):
                template.add(found, locations=[(path.relative_to(ROOT).as_posix(), 0)], context=context)
    unfold, django = package("unfold"), known_to_django()
    for path in sources(unfold, UNUSED):
        for found, context in texts(path):
            if (found if isinstance(found, str) else found[0]) not in django:
                place = path.relative_to(unfold.parent).as_posix()
                template.add(found, locations=[(place, 0)], context=context)
    return template


def faults(template: Catalog, current: Catalog) -> list[str]:
    """What is wrong with the catalogue; no text may be missing, and none may be left over."""
    needed = {(text(message), message.context) for message in template if message.id}
    there = {(text(message), message.context): message for message in current if message.id}
    missing = [key for key in sorted(needed, key=str) if key not in there or not translated(there[key])]
    return [
        *(f"no translation: {key[0]!r}" for key in missing),
        *(f"no page shows this any more: {key[0]!r}" for key in there if key not in needed),
        *(f"{text(message)!r}: {error}" for message, errors in current.check() for error in errors),
    ]


def compiled(current: Catalog) -> bytes:
    """The catalogue as Django reads it."""
    file = io.BytesIO()
    write_mo(file, current)
    return file.getvalue()


def written(current: Catalog) -> bytes:
    """The catalogue as people read it: by text, with the files of each, without their lines."""
    file = io.BytesIO()
    write_po(file, current, width=110, sort_output=True, include_lineno=False, ignore_obsolete=True)
    return file.getvalue()


def main(arguments: list[str]) -> int:
    """0 if the catalogue is complete and compiled."""
    template, current, mo = wanted(), catalogue(PO), PO.with_suffix(".mo")
    if "--check" not in arguments:
        template.creation_date = current.creation_date
        current.update(template, no_fuzzy_matching=True)
        PO.parent.mkdir(parents=True, exist_ok=True)
        PO.write_bytes(written(current))
        current = catalogue(PO)
        mo.write_bytes(compiled(current))
    found = faults(template, current)
    if not mo.is_file() or mo.read_bytes() != compiled(current):
        found.append(f"{mo.relative_to(ROOT)} is out of date: run scripts/translations.py")
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
