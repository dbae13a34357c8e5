"""Update or check the catalogues of the pages, without GNU gettext.

Usage: scripts/translations.py            add new texts, remove unused ones and compile the catalogues
       scripts/translations.py --check    report missing, unused, inconsistent or uncompiled translations
The Simplified Chinese catalogue has the texts of this project's packages, those of Unfold unless Django's own
catalogue translates them, and those of Django that this project words differently. The English catalogue has
only texts of Django and Unfold that this project words differently.
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
LOCALES = ROOT / "cyllm_site" / "locale"
PO = LOCALES / LOCALE / "LC_MESSAGES" / "django.po"
ENGLISH_PO = LOCALES / "en" / "LC_MESSAGES" / "django.po"
# Texts of Django whose translations have other words than this project's; its catalogues replace them.
REWORDED = (
    *("Log in", "Log in again", "Log out", "Logged out", "last login", "This account is inactive."),
    *("Filters", " By %(filter_title)s ", "Clear all filters", "Start typing to filter…"),
    *("Add", "Add %s", "Add another %(model)s", "Save and add another", "Change %s", "Select %s to change"),
    *("Select %s to view", "Delete selected %(model)s", "Action:", "No action selected."),
    *("Run the selected action", "Recent actions", "Select all %(total_count)s %(module_name)s"),
    "0 of %(cnt)s selected",
    "Thanks for spending some quality time with the web site today.",
    "Designates whether the user can log into this admin site.",
    "Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
    "You are authenticated as %(username)s, but are not authorized to access this page. Would you like to "
    "login to a different account?",
)
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


def sources(folder: Path, excluded_prefixes: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the Python files and templates below the folder, sorted."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".py", ".html") and not name.startswith(excluded_prefixes):
            yield path


def texts(path: Path) -> Iterator[tuple[str | tuple[str, ...], str | None]]:
    """Yield the translatable texts of a file with their contexts."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        # templatize() returns gettext calls separated by blanks; parentheses make them one Python expression.
        source = f"({templatize(source, origin=str(path))})"
    for _, text, _, context in extract("python", io.BytesIO(source.encode()), keywords=KEYWORDS):
        yield text, context


def catalogue(path: Path, locale: str = LOCALE) -> Catalog:
    """Read a catalogue; an empty one if the file does not exist."""
    if not path.is_file():
        return empty_catalogue()
    with path.open("rb") as file:
        return read_po(file, locale=locale)


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
    for message in REWORDED:
        if message in translated_by_django:
            template.add(message, locations=[("django", 0)])
    for path in sources(unfold, UNUSED_FOLDERS):
        for message, context in texts(path):
            if (message if isinstance(message, str) else message[0]) not in translated_by_django:
                name = path.relative_to(unfold.parent).as_posix()
                template.add(message, locations=[(name, 0)], context=context)
    return template


def problems(template: Catalog, current: Catalog) -> list[str]:
    """Return the missing, unused and inconsistent translations of the catalogue."""
    template_keys = {(text(message), message.context) for message in template if message.id}
    translations = {(text(message), message.context): message for message in current if message.id}
    missing_keys = [
        key
        for key in sorted(template_keys, key=str)
        if key not in translations or not is_translated(translations[key])
    ]
    return [
        *(f"no translation: {key[0]!r}" for key in missing_keys),
        *(f"unused translation: {key[0]!r}" for key in translations if key not in template_keys),
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


def reworded_texts(template: Catalog, current: Catalog) -> Catalog:
    """Return the texts of a template that the English catalogue words differently."""
    result = Catalog()
    for message in template:
        if message.id and message.id in current:
            result.add(message.id)
    return result


def update(po: Path, template: Catalog, current: Catalog, locale: str) -> Catalog:
    """Add the template's texts to a catalogue, remove others, and write it with its compiled form."""
    template.creation_date = current.creation_date
    current.update(template, no_fuzzy_matching=True)
    po.parent.mkdir(parents=True, exist_ok=True)
    po.write_bytes(po_bytes(current))
    current = catalogue(po, locale)
    po.with_suffix(".mo").write_bytes(mo_bytes(current))
    return current


def main(arguments: list[str]) -> int:
    """Return 0 if the catalogues are complete and compiled."""
    errors: list[str] = []
    template = page_texts()
    for po, locale in ((PO, LOCALE), (ENGLISH_PO, "en")):
        current = catalogue(po, locale)
        texts = template if locale == LOCALE else reworded_texts(template, current)
        if "--check" not in arguments:
            current = update(po, texts, current, locale)
        errors += problems(texts, current)
        mo = po.with_suffix(".mo")
        if not mo.is_file() or mo.read_bytes() != mo_bytes(current):
            errors.append(f"{mo.relative_to(ROOT)} is out of date: run scripts/translations.py")
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
