"""Requests embeddings with unmodified LangChain and litellm and prints the results as JSON."""

from __future__ import annotations

import json
import os

import litellm
from langchain_openai import OpenAIEmbeddings

TEXTS = json.loads(os.environ["TEXTS"])
MODEL = os.environ["EMBEDDING_MODEL"]

# By default it would send token ids of OpenAI's models.
langchain = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False, max_retries=0)
answer = litellm.embedding(model=f"openai/{MODEL}", input=TEXTS)
print(
    json.dumps(
        {
            "langchain": langchain.embed_documents(TEXTS),
            "langchain_query": langchain.embed_query(TEXTS[0]),
            "litellm": [entry["embedding"] for entry in answer.data],
            "litellm_tokens": answer.usage.prompt_tokens,
        }
    )
)
