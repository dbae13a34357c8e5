"""Embeddings by LangChain and litellm, unmodified; prints what they got as JSON, for the test to judge."""

from __future__ import annotations

import json
import os

import litellm
from langchain_openai import OpenAIEmbeddings

TEXTS = json.loads(os.environ["TEXTS"])
MODEL = os.environ["EMBEDDING_MODEL"]

# The tokens that it would send by default are those of OpenAI's models.
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
