"""What stands before vLLM's own calls: the meter, the sink, and the check that a request has room."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from inference_worker.runtime.calls.context_length import asked_by
from inference_worker.runtime.calls.engine_call import current_submit
from inference_worker.runtime.calls.fast_path import current_sink
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.runtime.constraints.constraints import Outputs


def metered(generate: Callable[..., Outputs]) -> Callable[..., Outputs]:
    """Wrap ``AsyncLLM.generate`` so that each output passes the meter of the call it belongs to."""

    def observe(meter: CallMeter, output: Any) -> None:
        if current_sink.get() is None:  # a sink has its outputs metered before they come here
            meter.observe_output(output)

    return _observed(generate, observe)


def metered_pooling(encode: Callable[..., Outputs]) -> Callable[..., Outputs]:
    """Wrap ``AsyncLLM.encode``, which reads prompts and generates nothing, in the same way."""
    return _observed(encode, CallMeter.observe_pooled)


def _observed(
    begin: Callable[..., Outputs], observe: Callable[[CallMeter, Any], None]
) -> Callable[..., Outputs]:
    async def outputs_of(outputs: Outputs) -> Outputs:
        meter = current_meter.get()
        async with aclosing(outputs):
            if meter is not None:
                meter.accepted()
            async for output in outputs:
                if meter is not None:
                    observe(meter, output)
                yield output

    # Called at once, not with the first output: what it refuses can still be answered with a status.
    return lambda *args, **kwargs: outputs_of(begin(*args, **kwargs))


def fitting(generate: Callable[..., Outputs], context: int) -> Callable[..., Outputs]:
    """Wrap ``AsyncLLM.generate`` to refuse what has no room for the completion that was asked for.

    vLLM would make a shorter one. Raises VLLMValidationError, which its application answers with 400.
    """
    from vllm.exceptions import VLLMValidationError

    def fits(prompt: Any, *args: Any, **kwargs: Any) -> Outputs:
        submit = current_submit.get()
        wants = asked_by(submit) if submit is not None else None
        tokens = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else None
        if wants is not None and tokens is not None and (text := wants.overflow(context, len(tokens))):
            raise VLLMValidationError(text)
        return generate(prompt, *args, **kwargs)

    return fits


def sunk(add_request: Any) -> Any:
    """Wrap ``AsyncLLM.add_request`` so that the call's sink, if it has one, gets the outputs first."""

    async def add(*args: Any, **kwargs: Any) -> Any:
        collector = await add_request(*args, **kwargs)
        if (sink := current_sink.get()) is not None:
            sink.attach(collector)
        return collector

    return add
