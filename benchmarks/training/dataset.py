"""A generated chat dataset: lengths are skewed as in practice, and about half of the tokens are trained."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

MEAN_TOKENS = 154
SIGMA = 0.8  # of the logarithm of the length: the longest of eight chats has about 2.4 times their mean
SHORTEST, LONGEST = 40, 1000
OVERHEAD_TOKENS = 22  # the template's tokens around three messages, and the system message
SYSTEM = "You are a careful assistant."
WORDS = " ".join(
    (
        "the of and to in is that for it as was with be by on not he his but at are this have from or",
        "had an they which one you were all her she there would their we him been has when who will no",
        "more if out so up said what its about than into them can only other time new some could these",
        "two may first then do any like my now over such our man me even most made after also well did",
        "many before must through years where much your way down should because long each just state",
        "those people too little good make very year still see own work men day get here water house",
        "light paper river stone glass market winter summer letter window garden music answer question",
        "table number order price city story picture engine school friend morning evening bread train",
        "road bridge field",
    )
).split()


def write_chats(path: Path, count: int, seed: int) -> None:
    """Write ``count`` chats of three messages as JSON lines."""
    source = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(json.dumps({"messages": chat(source)}) + "\n")


def chat(source: random.Random) -> list[dict[str, str]]:
    """Return a generated chat of system message, question and answer."""
    location = math.log(MEAN_TOKENS) - SIGMA**2 / 2
    length = min(max(int(source.lognormvariate(location, SIGMA)), SHORTEST), LONGEST)
    words = length - OVERHEAD_TOKENS
    question = max(2, round(words * source.uniform(0.25, 0.55)))
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": _text(source, question) + "?"},
        {"role": "assistant", "content": _text(source, max(2, words - question)) + "."},
    ]


def _text(source: random.Random, words: int) -> str:
    return " ".join(source.choices(WORDS, k=words)).capitalize()
