"""Update or check the Simplified Chinese catalogue of the pages, without GNU gettext.

Usage: scripts/translations.py            add new texts, remove unused ones and compile the catalogue
       scripts/translations.py --check    report missing, unused, inconsistent or uncompiled translations
Texts come from this project's packages, and from Unfold unless Django's own catalogue translates them.
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
PACKAGES = ("cyllm_site", "api", "training", "tenants", "inference_worker", "backoffice", "templates")
# Parts of Unfold that no page of this project uses.
UNUSED_FOLDERS = (
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
HEADER = "# Simplified Chinese translations of the pages of CY-LLM, maintained with scripts/translations.py."


def package_folder(name: str) -> Path:
    """Return the folder of an installed package."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed")
    return Path(spec.origin).parent


def sources(folder: Path, excluded: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the Python files and templates below the folder, sorted."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".py", ".html") and not name.startswith(excluded):
            yield path


def texts(path: Path) -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    """Yield the translatable texts of a file with their contexts."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        # templatize() returns gettext calls separated by blanks; parentheses make them one Python expression.
        source = f"({templatize(source, origin=str(path))})"
    for _, text, _, context in extract("python", io.BytesIO(source.encode()), keywords=KEYWORDS):
        yield text, context


def catalogue(path: Path) -> Catalog:
    """Read a catalogue; an empty one if the file does not exist."""
    if not path.is_file():
        return empty_catalogue()
    with path.open("rb") as file:
        return read_po(file, locale=LOCALE)


def empty_catalogue() -> Catalog:
    """Return a catalogue without texts."""
    return Catalog(
        LOCALE,
        header_comment=HEADER,
        project="CY-LLM",
        version="1",
        msgid_bugs_address="issues of the project",
        last_translator="CY-LLM",
        language_team="CY-LLM",
        revision_date=datetime.now(UTC),
        fuzzy=False,
    )


def django_texts() -> set[str]:
    """Return the texts that Django translates."""
    paths = package_folder("django").rglob(f"locale/{LOCALE}/LC_MESSAGES/django.po")
    return {text(message) for path in paths for message in catalogue(path) if is_translated(message)}


def text(message: Message) -> str:
    """Return the English text; the singular of a plural message."""
    return message.id if isinstance(message.id, str) else message.id[0]


def is_translated(message: Message) -> bool:
    """Return whether the message has a translation that is not marked fuzzy."""
    strings = [message.string] if isinstance(message.string, str) else list(message.string or [""])
    return all(strings) and not message.fuzzy


def page_texts() -> Catalog:
    """Return every text that a page can show."""
    template = Catalog()
    for name in PACKAGES:
        for path in sources(ROOT / name):
            for message, context in texts(path):
                template.add(message, locations=[(path.relative_to(ROOT).as_posix(), 0)], context=context)
    unfold, translated_by_django = package_folder("unfold"), django_texts()
    for path in sources(unfold, UNUSED_FOLDERS):
        for message, context in texts(path):
            if (message if isinstance(message, str) else message[0]) not in translated_by_django:
                name = path.relative_to(unfold.parent).as_posix()
                template.add(message, locations=[(name, 0)], context=context)
    return template


def problems(template: Catalog, current: Catalog) -> list[str]:
    """Return the missing, unused and inconsistent translations of the catalogue."""
    required = {(text(message), message.context) for message in template if message.id}
    translations = {(text(message), message.context): message for message in current if message.id}
    untranslated = [
        key
        for key in sorted(required, key=str)
        if key not in translations or not is_translated(translations[key])
    ]
    return [
        *(f"no translation: {key[0]!r}" for key in untranslated),
        *(f"unused translation: {key[0]!r}" for key in translations if key not in required),
        *(f"{text(message)!r}: {error}" for message, errors in current.check() for error in errors),
    ]


def mo_bytes(current: Catalog) -> bytes:
    """Return the compiled catalogue."""
    file = io.BytesIO()
    write_mo(file, current)
    return file.getvalue()


def po_bytes(current: Catalog) -> bytes:
    """Return the catalogue as text, sorted, with file names but no line numbers."""
    file = io.BytesIO()
    write_po(file, current, width=110, sort_output=True, include_lineno=False, ignore_obsolete=True)
    return file.getvalue()


def main(arguments: list[str]) -> int:
    """Return 0 if the catalogue is complete and compiled."""
    template, current, mo = page_texts(), catalogue(PO), PO.with_suffix(".mo")
    if "--check" not in arguments:
        template.creation_date = current.creation_date
        current.update(template, no_fuzzy_matching=True)
        PO.parent.mkdir(parents=True, exist_ok=True)
        PO.write_bytes(po_bytes(current))
        current = catalogue(PO)
        mo.write_bytes(mo_bytes(current))
    errors = problems(template, current)
    if not mo.is_file() or mo.read_bytes() != mo_bytes(current):
        errors.append(f"{mo.relative_to(ROOT)} is out of date: run scripts/translations.py")
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
