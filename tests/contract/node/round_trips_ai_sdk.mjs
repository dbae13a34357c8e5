// Conversations through the AI SDK: the messages of each result are appended as the SDK returned them.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const id = process.env.MODEL;
const at = { baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY };
const official = createOpenAI(at);
const models = {
  compatible: createOpenAICompatible({ name: "ours", ...at, includeUsage: true, supportsStructuredOutputs: true })(id),
  chat: official.chat(id),
  responses: official.responses(id),
};
const weather = tool({
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `It rains in ${city}.`,
});

async function converse(model, streamed, tools) {
  const messages = [];
  for (const turn of [1, 2, 3]) {
    messages.push({ role: "user", content: `Question ${turn}` });
    const asked = { model, messages, tools, maxRetries: 0, stopWhen: stepCountIs(2) };
    const result = streamed ? streamText({ ...asked, onError: () => {} }) : await generateText(asked);
    const text = await result.text;
    const expected = tools ? "It rains in Rome." : `This is answer ${turn}.`;
    if (!text.includes(expected)) throw new Error(`turn ${turn}: ${text}`);
    messages.push(...(await result.response).messages);
  }
}

async function parse(model) {
  const messages = [];
  for (const turn of [1, 2, 3]) {
    messages.push({ role: "user", content: `Question ${turn}` });
    const output = Output.object({ schema: z.object({ city: z.string() }) });
    const result = await generateText({ model, messages, output, maxRetries: 0 });
    if (result.output.city !== "Rome") throw new Error(JSON.stringify(result.output));
    messages.push(...result.response.messages);
  }
}

const results = {};
async function record(label, conversation) {
  results[label] = await conversation.then(
    () => "ok",
    (error) => `${error} ${error.responseBody ?? ""}`,
  );
}
for (const [name, model] of Object.entries(models)) {
  for (const streamed of [false, true])
    for (const tools of [undefined, { weather }]) {
      const label = [name, streamed ? "streamed" : "plain", tools ? "tools" : "text"].join(" ");
      await record(label, converse(model, streamed, tools));
    }
  await record(`${name} parsed`, parse(model));
}
console.log(JSON.stringify(results));
