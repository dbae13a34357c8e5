"""Spaces between special tokens, with a tokenizer of words, such as SentencePiece's.

The models of the other tests have byte tokenizers, which add no spaces.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import WordPiece
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

TURN = "<turn>"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({"yes": 0, "no": 1}, unk_token="no"))
    words.decoder = WordPiece()
    words.add_special_tokens([AddedToken(TURN, special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=words)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised by torch during its import
@pytest.mark.honours("chat", "spaces_between_special_tokens")
@pytest.mark.honours("completions", "spaces_between_special_tokens")
@pytest.mark.parametrize(("spaces", "text"), [(True, f" {TURN} {TURN} yes"), (False, f" {TURN}{TURN} yes")])
def test_spaces_between_special_tokens_are_left_out_where_asked(
    tokenizer: PreTrainedTokenizerFast, spaces: bool, text: str
) -> None:
    from vllm import SamplingParams
    from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer

    params = SamplingParams(skip_special_tokens=False, spaces_between_special_tokens=spaces, detokenize=True)
    request = cast(Any, SimpleNamespace(sampling_params=params, prompt_token_ids=[1], request_id="r"))
    detokenizer = FastIncrementalDetokenizer(tokenizer, request)
    turn = tokenizer.convert_tokens_to_ids(TURN)
    assert "".join(map(detokenizer.decode_next, (turn, turn, 0))) == text
