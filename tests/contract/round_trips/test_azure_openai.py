"""Clients of Azure OpenAI, with the platform as their endpoint."""

from __future__ import annotations

import asyncio

import pytest
from openai import AsyncAzureOpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from tests.contract.client_environments import NODE, ClientRunner, node_clients, python_clients
from tests.contract.round_trips.answering import THINKER

QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "What is the capital of France?"}
ANSWER = "This is answer 1."
LANGCHAIN = """
import os
from langchain_openai import AzureChatOpenAI

chat = AzureChatOpenAI(azure_deployment=os.environ["MODEL"], api_version="2024-10-21")
print(chat.invoke("What is the capital of France?").content)
"""
NODE_SDK = """
import { AzureOpenAI } from "openai";

const client = new AzureOpenAI({ apiVersion: "2024-10-21" });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const chat = await client.chat.completions.create({ model: process.env.MODEL, messages });
console.log(chat.choices[0].message.content);
"""


@pytest.mark.parametrize("model", ["tiny"], indirect=True)
async def test_the_azure_client_is_answered(client_runner: ClientRunner) -> None:
    server = client_runner.stack
    async with AsyncAzureOpenAI(
        azure_endpoint=server.base_url, api_key=server.key, api_version="2024-10-21", max_retries=0
    ) as client:
        chat = await client.chat.completions.create(model=server.model, messages=[QUESTION])
        assert chat.choices[0].message.content == ANSWER
        response = await client.responses.create(model=server.model, input="Rome?")
        assert response.output_text == ANSWER
        assert (await client.responses.retrieve(response.id)).output_text == ANSWER
        assert server.model in {model.id async for model in client.models.list()}


@pytest.mark.parametrize("model", [THINKER], indirect=True)
async def test_the_azure_client_with_a_deployment_streams(client_runner: ClientRunner) -> None:
    server = client_runner.stack
    async with AsyncAzureOpenAI(
        azure_endpoint=server.base_url,
        azure_deployment=server.model,
        azure_ad_token=server.key,
        api_version="2024-10-21",
        max_retries=0,
    ) as client:
        stream = await client.chat.completions.create(model=server.model, messages=[QUESTION], stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
        response = await client.responses.create(model=server.model, input="Rome?")
        assert response.output_text == ANSWER


def _run_other_clients(client_runner: ClientRunner) -> list[str]:
    node_clients()
    server = client_runner.stack
    variables = {
        "AZURE_OPENAI_ENDPOINT": server.base_url,
        "AZURE_OPENAI_API_KEY": server.key,
        "OPENAI_BASE_URL": "",
        "OPENAI_API_KEY": "",
    }
    commands = (
        [str(python_clients() / "python"), "-c", LANGCHAIN],
        ["node", "--input-type=module", "--eval", NODE_SDK],
    )
    processes = [client_runner.run(command, NODE, variables) for command in commands]
    return [process.stdout + process.stderr for process in processes]


@pytest.mark.parametrize("model", ["tiny"], indirect=True)
async def test_azure_clients_of_langchain_and_node_are_answered(client_runner: ClientRunner) -> None:
    assert await asyncio.to_thread(_run_other_clients, client_runner) == [f"{ANSWER}\n"] * 2
