// Drives the unmodified OpenAI SDK for Node.js; prints what it got as JSON, for the Python test to judge.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY, as any user sets them
const model = process.env.MODEL;
const question = [{ role: "user", content: "What is the capital of France?" }];
const greedy = { model, temperature: 0, max_tokens: 16 };

async function failure(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return {
      name: error.constructor.name,
      status: error.status,
      code: error.code,
      type: error.type,
      param: error.param,
      requestId: error.requestID,
    };
  }
}

async function collected(stream, text) {
  let whole = "";
  let usage = null;
  for await (const chunk of stream) {
    whole += chunk.choices.length ? text(chunk.choices[0]) ?? "" : "";
    usage = chunk.usage ?? usage;
  }
  return { text: whole, usage };
}

async function stoppedAfter(pieces) {
  const stream = await client.chat.completions.create({
    model,
    messages: question,
    max_tokens: 500,
    stream: true,
    ignore_eos: true,
  });
  let seen = 0;
  for await (const _ of stream) {
    if (++seen === pieces) stream.controller.abort();
  }
  return seen;
}

const capital = z.object({
  country: z.enum(["France", "Italy", "Peru"]),
  capital: z.enum(["Paris", "Rome", "Lima"]),
});

async function parsed() {
  const asked = { ...greedy, max_tokens: 80, messages: question };
  const format = { response_format: zodResponseFormat(capital, "capital") };
  const plain = await client.chat.completions.parse({ ...asked, ...format });
  const stream = client.chat.completions.stream({ ...asked, ...format });
  let deltas = "";
  stream.on("content.delta", ({ delta }) => (deltas += delta));
  const final = await stream.finalChatCompletion();
  return {
    plain: plain.choices[0].message.parsed,
    streamed: final.choices[0].message.parsed,
    deltas,
    usage: plain.usage.completion_tokens,
  };
}

// The SDK's own runner calls the function that the model has chosen.
async function tools() {
  const asked = [];
  const weather = zodFunction({
    name: "weather",
    parameters: z.object({ city: z.enum(["Paris", "Rome", "Lima"]) }),
    function: ({ city }) => {
      asked.push(city);
      return `It rains in ${city}.`;
    },
  });
  const body = {
    ...greedy,
    max_tokens: 80,
    messages: [{ role: "user", content: "How is the weather in Rome?" }],
    tools: [weather],
    tool_choice: { type: "function", function: { name: "weather" } },
  };
  const plain = await client.chat.completions.runTools(body).finalFunctionToolCallResult();
  const streamed = await client.chat.completions
    .runTools({ ...body, stream: true })
    .finalFunctionToolCallResult();
  return { asked, plain, streamed };
}

async function sampling() {
  const several = await client.chat.completions.create({
    ...greedy,
    temperature: 1.5,
    seed: 7,
    n: 3,
    messages: question,
  });
  const measured = await client.chat.completions.create({
    ...greedy,
    max_tokens: 3,
    logprobs: true,
    top_logprobs: 2,
    messages: question,
  });
  return {
    texts: several.choices.map((choice) => choice.message.content),
    logprobs: measured.choices[0].logprobs.content,
  };
}

async function headers() {
  const asked = { ...greedy, messages: question };
  const { data, response, request_id } = await client.chat.completions.create(asked).withResponse();
  return { text: data.choices[0].message.content, type: response.headers.get("content-type"), request_id };
}

async function responses() {
  const asked = { model, temperature: 0, max_output_tokens: 40, input: question[0].content };
  const made = await client.responses.create(asked);
  const stream = client.responses.stream(asked);
  const numbers = [];
  for await (const event of stream) numbers.push(event.sequence_number);
  const background = await client.responses.create({ ...asked, background: true });
  let polled = background;
  while (["queued", "in_progress"].includes(polled.status)) polled = await client.responses.retrieve(polled.id);
  const continued = await client.responses.create({
    ...asked,
    input: "And of Italy?",
    previous_response_id: made.id,
  });
  return {
    text: made.output_text,
    streamed: (await stream.finalResponse()).output[0].content[0].text,
    numbers,
    kept: (await client.responses.retrieve(made.id)).output_text,
    background: { first: background.status, last: polled.status, text: polled.output_text },
    continued: continued.output_text,
  };
}

// When the model has no worker, the SDK tries again when it was told to.
async function retried() {
  const at = [];
  const counting = new OpenAI({
    maxRetries: 1,
    fetch: async (...call) => {
      const response = await fetch(...call);
      at.push({ ms: performance.now(), status: response.status, after: response.headers.get("retry-after") });
      return response;
    },
  });
  const error = await failure(() =>
    counting.chat.completions.create({ ...greedy, model: process.env.IDLE_MODEL, messages: question }),
  );
  return { error, at };
}

const chat = await client.chat.completions.create({ ...greedy, messages: question });
const withUsage = { stream: true, stream_options: { include_usage: true } };
const completion = await client.completions.create({ ...greedy, prompt: "The sea is" });
const models = await client.models.list();

console.log(
  JSON.stringify({
    chat: { text: chat.choices[0].message.content, usage: chat.usage, id: chat.id, object: chat.object },
    chatStream: await collected(
      await client.chat.completions.create({ ...greedy, ...withUsage, messages: question }),
      (choice) => choice.delta.content,
    ),
    completion: { text: completion.choices[0].text, object: completion.object },
    completionStream: await collected(
      await client.completions.create({ ...greedy, ...withUsage, prompt: "The sea is" }),
      (choice) => choice.text,
    ),
    models: models.data.map((entry) => entry.id),
    retrieved: (await client.models.retrieve(model)).id,
    wrongKey: await failure(() => new OpenAI({ apiKey: "sk-wrong", maxRetries: 0 }).models.list()),
    unknownModel: await failure(() =>
      client.chat.completions.create({ model: "no-such-model", messages: question }),
    ),
    badValue: await failure(() =>
      client.chat.completions.create({ ...greedy, temperature: 9, messages: question }),
    ),
    tooLong: await failure(() =>
      client.chat.completions.create({
        ...greedy,
        messages: [{ role: "user", content: "sea ".repeat(9000) }],
      }),
    ),
    unknownUrl: await failure(() => client.moderations.create({ input: "x" })),
    parsed: await parsed(),
    tools: await tools(),
    sampling: await sampling(),
    responses: await responses(),
    headers: await headers(),
    retried: await retried(),
    stoppedAfter: await stoppedAfter(5),
  }),
);
