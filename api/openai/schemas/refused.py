"""Parameters of engines that no generating endpoint and no tokenizer accepts."""

from __future__ import annotations

from typing import Annotated

from api.openai.schemas.policies import Refused, Wire

RESERVED = "it is set by the platform"
_NOT_TRUNCATED = "prompts are never truncated; a prompt that is too long is rejected"
_RENDERING = "prompts are rendered, not returned for another engine"


class RefusedParameters(Wire):
    """Base of request schemas: vLLM's parameters that could reach other tenants, or are not available."""

    priority: Annotated[None, Refused(RESERVED)] = None
    cache_salt: Annotated[None, Refused(RESERVED)] = None
    request_id: Annotated[None, Refused(RESERVED)] = None
    session_id: Annotated[None, Refused(RESERVED)] = None
    lora_path: Annotated[None, Refused(RESERVED)] = None
    lora_request: Annotated[None, Refused(RESERVED)] = None
    chat_template: Annotated[
        None, Refused("the model's own template is used; set its variables in 'chat_template_kwargs'")
    ] = None
    mm_processor_kwargs: Annotated[None, Refused(RESERVED)] = None
    media_io_kwargs: Annotated[None, Refused(RESERVED)] = None
    kv_transfer_params: Annotated[None, Refused(RESERVED)] = None
    ec_transfer_params: Annotated[None, Refused(RESERVED)] = None
    vllm_xargs: Annotated[None, Refused(RESERVED)] = None
    prompt_embeds: Annotated[None, Refused("prompts are text or token ids")] = None
    prompt_logprobs: Annotated[None, Refused("log probabilities of the prompt are not available")] = None
    truncate_prompt_tokens: Annotated[None, Refused(_NOT_TRUNCATED)] = None
    truncation_side: Annotated[None, Refused(_NOT_TRUNCATED)] = None
    use_beam_search: Annotated[None, Refused("beam search is not available; use 'n' for several choices")] = (
        None
    )
    length_penalty: Annotated[None, Refused("beam search is not available")] = None
    early_stopping: Annotated[None, Refused("beam search is not available")] = None
    guided_json: Annotated[None, Refused("use 'response_format' or 'structured_outputs'")] = None
    guided_regex: Annotated[None, Refused("use 'structured_outputs'")] = None
    guided_choice: Annotated[None, Refused("use 'structured_outputs'")] = None
    guided_grammar: Annotated[None, Refused("grammars are not supported; use 'response_format'")] = None
    guided_decoding_backend: Annotated[None, Refused(RESERVED)] = None
    documents: Annotated[None, Refused("put documents into the messages")] = None
    watermarking: Annotated[None, Refused(RESERVED)] = None
    # Evaluated in Python between the engine's steps, which all tenants share.
    repetition_detection: Annotated[
        None, Refused("it would slow other requests down; use 'frequency_penalty' or 'repetition_penalty'")
    ] = None
    routed_experts_prompt_start: Annotated[None, Refused("routed experts are not returned")] = None
    return_token_offsets: Annotated[None, Refused(_RENDERING)] = None
    mm_payload: Annotated[None, Refused(_RENDERING)] = None
    return_mm_kwargs: Annotated[None, Refused(_RENDERING)] = None
