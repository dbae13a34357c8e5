"""Limits stop strings to the content: a stop string in the reasoning must not end the response.

vLLM looks for stop strings in all generated text, so one in the reasoning ends the response without content.
It also holds text back for them, and its reasoning parsers, which compare texts with tokens, then find the
end of the reasoning in the wrong place.
"""

from __future__ import annotations

from typing import Any

CHAT_PREFIX = "chatcmpl-"


def stop_in_content_only(reasoner_cls: Any) -> None:
    """Patch vLLM so that chats ignore stop strings until the reasoning ends.

    ``reasoner_cls`` is the class of the model's reasoning parser.
    """
    from vllm.v1.engine import detokenizer as module

    original = module.IncrementalDetokenizer.from_new_request

    def from_new_request(tokenizer: Any, request: Any) -> Any:
        detokenizer = original(tokenizer, request)
        is_chat = (request.external_req_id or "").startswith(CHAT_PREFIX)
        if is_chat and getattr(detokenizer, "stop", None):
            reasoner = reasoner_cls(tokenizer, **(request.reasoning_parser_kwargs or {}))
            if not reasoner.is_reasoning_end(request.prompt_token_ids or []):
                ReasoningGate(detokenizer, reasoner)
        return detokenizer

    module.IncrementalDetokenizer.from_new_request = staticmethod(from_new_request)


class ReasoningGate:
    """Replaces ``update`` of one detokenizer until the reasoning ends."""

    def __init__(self, detokenizer: Any, reasoner: Any) -> None:
        self._detokenizer, self._reasoner = detokenizer, reasoner
        self._update = detokenizer.update
        self._stop_settings = (detokenizer.stop, detokenizer.stop_buffer_length)
        self._has_ended = False
        detokenizer.stop, detokenizer.stop_buffer_length = [], 0
        detokenizer.update = self.update

    def update(self, new_token_ids: list[int], stop_terminated: bool) -> str | None:
        """Return the stop string that ended the response, if any, as vLLM's ``update`` does."""
        if not self._has_ended:
            end = self._reasoning_tokens(new_token_ids)
            if end is None or end == len(new_token_ids):
                self._has_ended = end is not None
                return self._call_original(new_token_ids, stop_terminated)
            self._call_original(new_token_ids[:end], False)
            new_token_ids = new_token_ids[end:]
        # Not earlier: text held back in the step of the end would hide the end from the parser.
        self._detokenizer.stop, self._detokenizer.stop_buffer_length = self._stop_settings
        self._detokenizer.update = self._update
        return self._call_original(new_token_ids, stop_terminated)

    def _call_original(self, token_ids: list[int], stop_terminated: bool) -> str | None:
        stop: str | None = self._update(token_ids, stop_terminated)
        return stop

    def _reasoning_tokens(self, new_token_ids: list[int]) -> int | None:
        """Return the number of new tokens up to the end of the reasoning, None if it continues."""
        token_ids = list(self._detokenizer.output_token_ids)
        for count, token_id in enumerate(new_token_ids, start=1):
            token_ids.append(token_id)
            if self._reasoner.is_reasoning_end_streaming(token_ids, [token_id]):
                return count
        return None
