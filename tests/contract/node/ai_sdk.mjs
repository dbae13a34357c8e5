// Drives Vercel's AI SDK, unmodified, with both of its providers; prints what it got as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const id = process.env.MODEL;
const at = { baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY };
const prompt = "What is the capital of France?";
const greedy = { temperature: 0, maxOutputTokens: 80, maxRetries: 0 };
const capital = z.object({
  country: z.enum(["France", "Italy", "Peru"]),
  capital: z.enum(["Paris", "Rome", "Lima"]),
});
const weather = tool({
  description: "Look up the weather of a city.",
  inputSchema: z.object({ city: z.enum(["Paris", "Rome", "Lima"]) }),
  strict: true,
  execute: async ({ city }) => `It rains in ${city}.`,
});

async function failure(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return {
      name: error.name,
      status: error.statusCode,
      retryable: error.isRetryable,
      code: error.data?.error?.code ?? JSON.parse(error.responseBody).error.code,
    };
  }
}

async function text(model, extra = {}) {
  const answer = await generateText({ ...greedy, ...extra, model, prompt });
  const stream = streamText({ ...greedy, ...extra, model, prompt });
  let streamed = "";
  let pieces = 0;
  for await (const piece of stream.textStream) {
    streamed += piece;
    pieces += 1;
  }
  return {
    text: answer.text,
    finish: answer.finishReason,
    usage: answer.usage,
    streamed,
    pieces,
    streamedUsage: await stream.usage,
    streamedFinish: await stream.finishReason,
  };
}

async function objects(model) {
  const asked = { ...greedy, model, schema: capital, prompt };
  const stream = streamObject(asked);
  const partial = [];
  for await (const piece of stream.partialObjectStream) partial.push(piece);
  return { whole: (await generateObject(asked)).object, streamed: await stream.object, partial };
}

// The first step must call the tool, the second gets its answer and may not call again.
async function tools(model) {
  const asked = {
    ...greedy,
    model,
    prompt: "How is the weather in Rome?",
    tools: { weather },
    toolChoice: "required",
    prepareStep: ({ stepNumber }) => (stepNumber > 0 ? { toolChoice: "none" } : {}),
    stopWhen: stepCountIs(2),
  };
  const done = await generateText(asked);
  const toolChoice = { type: "tool", toolName: "weather" };
  const stream = streamText({ ...asked, toolChoice, stopWhen: stepCountIs(1) });
  const [first] = await stream.toolCalls;
  return {
    call: done.steps[0].toolCalls[0].input,
    result: done.steps[0].toolResults[0].output,
    steps: done.steps.length,
    text: done.text,
    streamed: { name: first.toolName, input: first.input, invalid: first.invalid ?? false },
  };
}

const compatible = createOpenAICompatible({
  name: "ours",
  ...at,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const official = createOpenAI(at);

console.log(
  JSON.stringify({
    compatible: {
      chat: await text(compatible(id)),
      completion: await text(compatible.completionModel(id), { maxOutputTokens: 12 }),
      objects: await objects(compatible(id)),
      tools: await tools(compatible(id)),
    },
    official: {
      chat: await text(official.chat(id)),
      completion: await text(official.completion(id), { maxOutputTokens: 12 }),
      objects: await objects(official.chat(id)),
      tools: await tools(official.chat(id)),
    },
    responses: {
      chat: await text(official.responses(id)),
      objects: await objects(official.responses(id)),
      tools: await tools(official.responses(id)),
    },
    failures: {
      key: await failure(() =>
        generateText({ ...greedy, prompt, model: createOpenAI({ ...at, apiKey: "sk-wrong" }).chat(id) }),
      ),
      model: await failure(() => generateText({ ...greedy, prompt, model: compatible("no-such-model") })),
      context: await failure(() =>
        generateText({ ...greedy, prompt: "sea ".repeat(9000), model: compatible(id) }),
      ),
      worker: await failure(() =>
        generateText({ ...greedy, prompt, model: compatible(process.env.IDLE_MODEL) }),
      ),
    },
  }),
);
