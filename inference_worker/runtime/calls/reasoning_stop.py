"""Stop strings hold for the content: what a model reasons before it doesn't end the answer.

vLLM looks for them in all that is generated, so that a stop string in the reasoning ends the answer with no
content at all. It also holds text back for them, and its reasoning parsers, which look at texts and tokens
together, then find the end of the reasoning in the wrong place.
"""

from __future__ import annotations

from typing import Any

CHAT_PREFIX = "chatcmpl-"


def stop_in_content_only(reasoner_cls: Any) -> None:
    """Make new requests of chats wait for the end of the reasoning before they look for stop strings.

    ``reasoner_cls`` is the class of the reasoning parser with which the model is served.
    """
    from vllm.v1.engine import detokenizer

    made = detokenizer.IncrementalDetokenizer.from_new_request

    def from_new_request(tokenizer: Any, request: Any) -> Any:
        found = made(tokenizer, request)
        chat = (request.external_req_id or "").startswith(CHAT_PREFIX)
        if chat and getattr(found, "stop", None):
            reasoner = reasoner_cls(tokenizer, **(request.reasoning_parser_kwargs or {}))
            if not reasoner.is_reasoning_end(request.prompt_token_ids or []):
                ReasoningGate(found, reasoner)
        return found

    detokenizer.IncrementalDetokenizer.from_new_request = staticmethod(from_new_request)


class ReasoningGate:
    """Takes the place of ``update`` of one detokenizer until the reasoning has ended."""

    def __init__(self, detokenizer: Any, reasoner: Any) -> None:
        self._detokenizer, self._reasoner = detokenizer, reasoner
        self._update = detokenizer.update
        self._held = (detokenizer.stop, detokenizer.stop_buffer_length)
        self._ended = False
        detokenizer.stop, detokenizer.stop_buffer_length = [], 0
        detokenizer.update = self.update

    def update(self, new_token_ids: list[int], stop_terminated: bool) -> str | None:
        """As vLLM's: the stop string that ended the answer, if one did."""
        if not self._ended:
            end = self._end_in(new_token_ids)
            if end is None or end == len(new_token_ids):
                self._ended = end is not None
                return self._pass(new_token_ids, stop_terminated)
            self._pass(new_token_ids[:end], False)
            new_token_ids = new_token_ids[end:]
        # Only now: a text held back in the step of the end would hide the end from the parser.
        self._detokenizer.stop, self._detokenizer.stop_buffer_length = self._held
        self._detokenizer.update = self._update
        return self._pass(new_token_ids, stop_terminated)

    def _pass(self, token_ids: list[int], stop_terminated: bool) -> str | None:
        found: str | None = self._update(token_ids, stop_terminated)
        return found

    def _end_in(self, new_token_ids: list[int]) -> int | None:
        """How many of the new tokens belong to the reasoning, its end included; None while it goes on."""
        seen = list(self._detokenizer.output_token_ids)
        for count, token_id in enumerate(new_token_ids, start=1):
            seen.append(token_id)
            if self._reasoner.is_reasoning_end_streaming(seen, [token_id]):
                return count
        return None
