// Drives the unmodified OpenAI SDK for Node.js; prints what it got as JSON, for the Python test to judge.
import OpenAI from "openai";

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
    stoppedAfter: await stoppedAfter(5),
  }),
);
