"""Tokenizer, chat template and stop tokens of a model folder, without transformers.

Token ids equal those of transformers. It loads some tokenizers from tokenizer.json and builds others in
their own class; for the latter, pass the tokenizer that it built.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer, processors

from training.datasets.examples import Json, Message, ToolCall
from training.datasets.tokens.template import FIXED_CLOCK, ChatTemplate, TemplateRefusalError
from training.model_files.config import read_config

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
TAKEN_AS_IS = ("TokenizersBackend", "PreTrainedTokenizerFast")  # values of tokenizer_class
_QUESTION, _ANSWER = Message(role="user", content="1"), Message(role="assistant", content="2")
_CALL = Message(role="assistant", tool_calls=(ToolCall(id="123456789", name="f", arguments={}),))
_RESULT = Message(role="tool", tool_call_id="123456789", content="3")
# Conversations of all roles, in orders that templates take.
PROBES: tuple[tuple[Message, ...], ...] = (
    (Message(role="system", content="0"), _QUESTION, _ANSWER, _QUESTION),
    (Message(role="developer", content="0"), _QUESTION, _ANSWER),
    (_QUESTION, _CALL, _RESULT, _ANSWER),
    (_QUESTION, _ANSWER),
)
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "config.json",
)


class ModelError(Exception):
    """A model folder can't be trained on; the text says what is wrong and what to do."""


class UnusableModelError(ModelError):
    """A complete model folder whose chat template makes every example unusable."""


class ModelTokenizer:
    """The tokenizer of a model folder. Raises ModelError when it is created from an unusable one.

    ``stop_ids``: all tokens at which the inference engine ends an answer; a trained answer ends with one.
    ``template`` is None for a base model. ``is_exact``: token ids are certain to be those of transformers.
    ``max_positions``: the model's context length, None if unknown.
    """

    def __init__(
        self, folder: Path, *, now: dt.datetime = FIXED_CLOCK, backend_json: str | None = None
    ) -> None:
        self.folder = folder
        self._backend_json = backend_json
        self._backend = _load_backend(folder / "tokenizer.json", backend_json)
        self.config = _read_config(folder)
        tokenizer_config = _read_json(folder / "tokenizer_config.json")
        self.is_exact = backend_json is not None or tokenizer_config.get("tokenizer_class") in TAKEN_AS_IS
        self.special_tokens = _special_tokens(folder, tokenizer_config)
        self.stop_ids = self._stop_ids()
        self.template = self._load_template(tokenizer_config, now)
        self.max_positions = _whole(self.config.get("max_position_embeddings"))

    def _stop_ids(self) -> frozenset[int]:
        """Return the tokenizer's end token and ``eos_token_id`` of generation_config.json.

        vLLM takes the one in config.json only without that file: ``try_get_generation_config`` and
        ``SamplingParams.update_from_generation_config``.
        """
        generation_config = self.folder / "generation_config.json"
        has_file = generation_config.is_file()
        ids = _end_ids(_read_json(generation_config)) if has_file else self._configured_ids()
        end = self.special_tokens.get("eos_token")
        token = self._backend.token_to_id(end) if end is not None else None
        if token is not None:
            ids.add(token)
        valid_ids = frozenset(token for token in ids if self._backend.id_to_token(token) is not None)
        if not valid_ids:
            raise ModelError(f"{self.folder} names no stop token: set eos_token_id in generation_config.json")
        return valid_ids

    def _configured_ids(self) -> set[int]:
        # Models that also read images can name their stop tokens outside of the text model's configuration.
        return _end_ids(_read_json(self.folder / "config.json")) or _end_ids(self.config)

    @cached_property
    def unserved_stop_texts(self) -> tuple[str, ...]:
        """Tokens that config.json names as ends, but at which the engine does not stop."""
        return self._token_texts(self._configured_ids() - self.stop_ids)

    def _load_template(self, tokenizer_config: Json, now: dt.datetime) -> ChatTemplate | None:
        sources = _template_sources(self.folder, tokenizer_config)
        if not sources:
            return None
        if "default" not in sources:
            raise ModelError(f"{self.folder} has chat templates, but none with the name default")
        try:
            return ChatTemplate(
                sources["default"], self.special_tokens, tool_source=sources.get("tool_use"), now=now
            )
        except TemplateRefusalError as error:
            raise ModelError(f"{self.folder}: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the files that determine tokens and masks."""
        digest = hashlib.sha256((self._backend_json or "").encode())
        templates = sorted((self.folder / "chat_templates").glob("*.jinja"))
        for path in [*(self.folder / name for name in _FILES), *templates]:
            if path.is_file():
                content = path.read_bytes()
                digest.update(f"{path.name} {len(content)}\n".encode())
                digest.update(content)
        return digest.hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; special tokens in it are recognised, none are added."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return token ids with the characters (start, end) of each, white space included."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def decode(self, ids: list[int]) -> str:
        """Return the text of token ids, special tokens included."""
        text: str = self._backend.decode(ids, skip_special_tokens=False)
        return text

    @cached_property
    def stop_texts(self) -> tuple[str, ...]:
        """The stop tokens as text."""
        return self._token_texts(self.stop_ids)

    def _token_texts(self, ids: Iterable[int]) -> tuple[str, ...]:
        texts = (self._backend.id_to_token(token) for token in sorted(ids))
        return tuple(text for text in texts if text)

    @cached_property
    def control_texts(self) -> tuple[str, ...]:
        """Special tokens that structure a conversation: stop tokens, named ones, those of the template.

        The template's are found in its source and, since it can assemble them as in ``"<|" + role + "|>"``,
        in its output. Other special tokens, such as ``<filename>`` of a code model, are allowed in texts.
        """
        source = "" if self.template is None else self.template.source + (self.template.tool_source or "")
        source += "".join(map(self._rendered, PROBES))
        texts = {*self.stop_texts, *self.unserved_stop_texts, *self.special_tokens.values()}
        for token in self._backend.get_added_tokens_decoder().values():
            if token.special and token.content in source:
                texts.add(token.content)
        return tuple(sorted(text for text in texts if text.strip()))

    def _rendered(self, probe: Sequence[Message]) -> str:
        if self.template is None:
            return ""
        try:
            return self.template.render(probe, for_generation=True)
        except TemplateRefusalError:  # it doesn't take these roles in this order
            return ""


def load_tokenizer(
    folder: Path | str, *, now: dt.datetime = FIXED_CLOCK, backend_json: str | None = None
) -> ModelTokenizer:
    """Load the tokenizer of a model folder. Raises ModelError.

    ``now``: the time for templates that ask. ``backend_json``: the tokenizer as transformers built it
    (``backend_tokenizer.to_str()``); None for tokenizer.json as it is, which is the same if ``is_exact``.
    """
    return ModelTokenizer(Path(folder), now=now, backend_json=backend_json)


def _load_backend(path: Path, backend_json: str | None) -> Tokenizer:
    try:
        backend = Tokenizer.from_str(backend_json or path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: save the model with a fast tokenizer") from None
    except Exception as error:  # the library raises bare exceptions
        raise ModelError(f"{path} can't be loaded: {error}") from error
    backend.no_padding()
    backend.no_truncation()
    # Without special tokens a post-processor changes only offsets: this one leaves white space in them.
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


def _read_json(path: Path) -> Json:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object")
    return value


def _read_config(folder: Path) -> Json:
    try:
        return read_config(folder)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} can't be read: {error}") from error


def _end_ids(config: Json) -> set[int]:
    value = config.get("eos_token_id")
    return {entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, int)}


def _special_tokens(folder: Path, tokenizer_config: Json) -> dict[str, str]:
    sources = (tokenizer_config, _read_json(folder / "special_tokens_map.json"))
    tokens: dict[str, str] = {}
    for name in SPECIAL_NAMES:
        for value in (source.get(name) for source in sources):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                tokens.setdefault(name, text)
    return tokens


def _template_sources(folder: Path, tokenizer_config: Json) -> dict[str, str]:
    """Return the templates by name. Files take precedence over tokenizer_config.json."""
    sources: dict[str, str] = {}
    value = tokenizer_config.get("chat_template")
    if isinstance(value, str):
        sources["default"] = value
    elif isinstance(value, list):
        entries = [entry for entry in value if isinstance(entry, dict)]
        sources.update({str(entry.get("name")): str(entry.get("template")) for entry in entries})
    files = {path.stem: path for path in sorted((folder / "chat_templates").glob("*.jinja"))}
    default = folder / "chat_template.jinja"
    if default.is_file():
        files["default"] = default
    if files:
        sources = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    return sources


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
