"""Chunked cross entropy: the values and gradients of torch's, without its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.engine.objectives.token_loss import IGNORED, token_logprobs, token_loss

TOKENS, HIDDEN, VOCABULARY = 37, 16, 101
ROOT = Path(__file__).resolve().parents[3]


def _inputs(label_share: float = 0.5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden_states = torch.randn(TOKENS, HIDDEN, generator=generator).requires_grad_()
    weight = torch.randn(VOCABULARY, HIDDEN, generator=generator).requires_grad_()
    bias = torch.randn(VOCABULARY, generator=generator).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)
    targets[torch.rand(TOKENS, generator=generator) >= label_share] = IGNORED
    return hidden_states, targets, weight, bias


@pytest.mark.parametrize("chunk", [1, 5, 256])
@pytest.mark.parametrize("trains_head", [False, True])
def test_loss_and_gradients_are_those_of_torch(chunk: int, trains_head: bool) -> None:
    hidden_states, targets, weight, bias = _inputs()
    expected = torch.nn.functional.cross_entropy(hidden_states @ weight.t() + bias, targets, reduction="sum")
    references = torch.autograd.grad(expected / 3, (hidden_states, weight, bias))
    if not trains_head:
        weight, bias = weight.detach(), bias.detach()

    result = token_loss(hidden_states, targets, weight, bias, chunk)
    sources = (hidden_states, weight, bias) if trains_head else (hidden_states,)
    gradients = torch.autograd.grad(result.loss_sum / 3, sources)

    assert float(result.loss_sum.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert result.tokens == int((targets != IGNORED).sum())
    for gradient, reference in zip(gradients, references, strict=False):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


def test_each_token_has_its_log_prob_and_its_own_gradient() -> None:
    hidden_states, targets, weight, bias = _inputs(label_share=2)
    factors = torch.arange(TOKENS, dtype=torch.float32)
    expected = (hidden_states @ weight.t() + bias).log_softmax(-1)[torch.arange(TOKENS), targets]
    (reference,) = torch.autograd.grad((expected * factors).sum(), hidden_states)

    log_probs, hits = token_logprobs(hidden_states, targets, weight.detach(), bias.detach(), 8)
    (gradient,) = torch.autograd.grad((log_probs * factors).sum(), hidden_states)

    torch.testing.assert_close(log_probs, expected)
    torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-4)
    assert hits.tolist() == ((hidden_states @ weight.t() + bias).argmax(-1) == targets).tolist()


def test_without_a_label_the_loss_is_zero() -> None:
    hidden_states, targets, weight, _ = _inputs(label_share=0)

    result = token_loss(hidden_states, targets, weight)

    assert (float(result.loss_sum.detach()), result.tokens) == (0.0, 0)


_MEMORY = """
import pathlib, re, sys, torch
from training.engine.objectives.token_loss import token_loss

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024

def loss(tokens):
    if sys.argv[1] == "full":
        logits = hidden[:tokens] @ weight.t()
        torch.nn.functional.cross_entropy(logits, targets[:tokens], reduction="sum").backward()
    elif sys.argv[1] == "evaluation":
        with torch.no_grad():
            token_loss(hidden[:tokens], targets[:tokens], weight)
    else:
        token_loss(hidden[:tokens], targets[:tokens], weight).loss_sum.backward()

hidden = torch.randn(2048, 64, requires_grad=True)
weight = torch.randn(32000, 64)
targets = torch.randint(0, 32000, (2048,))
loss(1)
before = peak()
loss(2048)
print(peak() - before)
"""


def _peak_bytes(kind: str) -> int:
    """Return by how much a process grows."""
    command = [sys.executable, "-c", _MEMORY, kind]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@pytest.mark.case("training.19")
def test_peak_memory_holds_few_chunks_of_logits() -> None:
    """2048 positions of 32000 float32 logits are 250 MiB, a chunk of them 31 MiB."""
    all_logits = 2048 * 32000 * 4

    assert _peak_bytes("full") > 2 * all_logits
    assert _peak_bytes("chunked") < all_logits * 2 / 3
    assert _peak_bytes("evaluation") < all_logits * 2 / 3
