"""Wrappers around vLLM's calls: metering, the order of log-probs, the fast path, and the context check."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from inference_worker.protocol.faults import ContextOverflow
from inference_worker.runtime.calls.context_length import context_demand
from inference_worker.runtime.calls.engine_call import EngineCall, current_call
from inference_worker.runtime.calls.fast_path import current_fast_path
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.runtime.constraints.request_constraints import Outputs


def observe_generation(generate: Callable[..., Outputs]) -> Callable[..., Outputs]:
    """Wrap ``AsyncLLM.generate`` to count each output on the meter of its call, and to sort its log-probs."""

    def observe(meter: CallMeter, output: Any) -> None:
        if current_fast_path.get() is None:  # the fast path has counted its outputs, which have no log-probs
            meter.observe_output(output)
            sort_logprobs(output)

    return _observe_outputs(generate, observe)


def sort_logprobs(output: Any) -> None:
    """Sort the candidates of each position of a RequestOutput by probability, most likely first.

    vLLM puts the sampled token first, and its application sends the first k: an unlikely token would displace
    the k-th. The lists and dicts are replaced, because vLLM goes on to use them with the sampled token first.
    """
    for choice in output.outputs:
        if choice.logprobs:
            choice.logprobs = [_by_probability(candidates) for candidates in choice.logprobs]


def _by_probability(candidates: dict[int, Any] | None) -> dict[int, Any] | None:
    if candidates is None:
        return None
    return dict(sorted(candidates.items(), key=lambda item: item[1].logprob, reverse=True))


def meter_pooling(encode: Callable[..., Outputs]) -> Callable[..., Outputs]:
    """Wrap ``AsyncLLM.encode``, which generates nothing, to count its prompts."""
    return _observe_outputs(encode, CallMeter.observe_pooled)


def _observe_outputs(
    start: Callable[..., Outputs], observe: Callable[[CallMeter, Any], None]
) -> Callable[..., Outputs]:
    async def observed_outputs(outputs: Outputs) -> Outputs:
        meter = current_meter.get()
        async with aclosing(outputs):
            if meter is not None:
                meter.observe_acceptance()
            async for output in outputs:
                if meter is not None:
                    observe(meter, output)
                yield output

    # ``start`` runs now rather than with the first output, so its errors can still set the status.
    return lambda *args, **kwargs: observed_outputs(start(*args, **kwargs))


def reject_overflow(generate: Callable[..., Outputs], context: int) -> Callable[..., Outputs]:
    """Wrap ``AsyncLLM.generate`` to reject a request whose completion limit exceeds the context.

    vLLM itself would generate less. Sets the call's fault and raises VLLMValidationError, which vLLM's
    application answers with 400.
    """
    from vllm.exceptions import VLLMValidationError

    def generate_if_it_fits(prompt: Any, *args: Any, **kwargs: Any) -> Outputs:
        call = current_call.get()
        if call is not None and (overflow := _overflow(call, prompt, context)) is not None:
            call.fault = overflow
            raise VLLMValidationError(f"the model's maximum context length is {context} tokens")
        return generate(prompt, *args, **kwargs)

    return generate_if_it_fits


def _overflow(call: EngineCall, prompt: Any, context: int) -> ContextOverflow | None:
    demand = context_demand(call.submit)
    token_ids = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else None
    if demand is None or token_ids is None:
        return None
    return demand.overflow(limit_tokens=context, prompt_tokens=len(token_ids))


def attach_fast_path(add_request: Any) -> Any:
    """Wrap ``AsyncLLM.add_request`` to pass its outputs to the fast path of the call, if it has one."""

    async def add_with_fast_path(*args: Any, **kwargs: Any) -> Any:
        collector = await add_request(*args, **kwargs)
        if (fast_path := current_fast_path.get()) is not None:
            fast_path.attach(collector)
        return collector

    return add_with_fast_path
