"""Notes of dataset reports, marked for translation: the checks know no Django and write English.

Notes that quote a number or a field are not among them and stay in English.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop

NOTE_TEXTS = (
    gettext_noop("The file begins with a byte order mark, which is skipped."),
    gettext_noop("Blank lines are skipped; line numbers count them."),
    gettext_noop("Lines end with CR LF."),
    gettext_noop("The last line has no line feed."),
    gettext_noop("The file is one JSON array; its elements are the examples."),
    gettext_noop("The trainer builds this tokenizer by its class: token counts can differ slightly."),
    gettext_noop("The chat template inserts the date; training uses a fixed one."),
    gettext_noop("The model has no chat template: prompts and completions are joined as they are."),
    gettext_noop("Prompts are rendered as the user's message and completions as the answer."),
)
