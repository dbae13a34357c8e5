// Conversations through the official SDK for Node.js, with each of its helpers, built as its documentation does.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const questions = ["How is the weather in Rome?", "And tomorrow?", "Thank you. And in Lima?"];
const Weather = z.object({ city: z.string(), days: z.number() });
const weather = zodFunction({
  name: "weather",
  parameters: z.object({ city: z.string() }),
  function: ({ city }) => `It rains in ${city}.`,
});

function expect(condition, what) {
  if (!condition) throw new Error(JSON.stringify(what));
}

async function chatTurns(ask, check) {
  const messages = [];
  for (const [index, content] of questions.entries()) {
    messages.push({ role: "user", content });
    const message = await ask({ model, messages }, index);
    check(message, index + 1);
    messages.push(message);
  }
}

async function responseTurns(ask, check) {
  const input = [];
  for (const [index, content] of questions.entries()) {
    input.push({ role: "user", content });
    const response = await ask({ model, input }, index);
    check(response, index + 1);
    input.push(...response.output);
  }
}

const isText = (text, turn) => expect(text === `This is answer ${turn}.`, { text, turn });
const isRome = (value) => expect(value?.city === "Rome", value);

const conversations = {
  chat_plain: () =>
    chatTurns(
      async (body) => (await client.chat.completions.create(body)).choices[0].message,
      (message, turn) => isText(message.content, turn),
    ),
  chat_streamed: () =>
    chatTurns(
      (body) => client.chat.completions.stream(body).finalMessage(),
      (message, turn) => isText(message.content, turn),
    ),
  chat_parsed: () =>
    chatTurns(
      async (body, index) => {
        const asked = { ...body, response_format: zodResponseFormat(Weather, "weather") };
        if (index === 1) return client.chat.completions.stream(asked).finalMessage();
        return (await client.chat.completions.parse(asked)).choices[0].message;
      },
      (message) => isRome(message.parsed),
    ),
  async chat_tools() {
    let messages = [];
    for (const [index, content] of questions.entries()) {
      messages.push({ role: "user", content });
      const runner = client.chat.completions.runTools({ model, messages, tools: [weather], stream: index === 1 });
      const text = await runner.finalContent();
      expect(text === "The tool said: It rains in Rome.", text);
      messages = runner.messages;
    }
  },
  responses_plain: () =>
    responseTurns(
      (body) => client.responses.create(body),
      (response, turn) => isText(response.output_text, turn),
    ),
  responses_streamed: () =>
    responseTurns(
      (body) => client.responses.stream(body).finalResponse(),
      // The SDK adds output_text only to responses that are not streamed.
      (response, turn) => isText(response.output.at(-1).content[0].text, turn),
    ),
  responses_parsed: () =>
    responseTurns(
      (body) => client.responses.parse({ ...body, text: { format: zodTextFormat(Weather, "weather") } }),
      (response) => isRome(response.output_parsed),
    ),
  async responses_tools() {
    const { function: fn } = weather;
    const tools = [{ type: "function", name: "weather", parameters: fn.parameters, strict: true }];
    const input = [];
    for (const content of questions) {
      input.push({ role: "user", content });
      const response = await client.responses.create({ model, input, tools });
      input.push(...response.output);
      for (const call of response.output.filter(({ type }) => type === "function_call"))
        input.push({ type: "function_call_output", call_id: call.call_id, output: "It rains." });
      const answer = await client.responses.create({ model, input, tools });
      input.push(...answer.output);
      expect(answer.output_text.startsWith("The tool said: "), answer.output_text);
    }
  },
  async responses_compacted() {
    const input = [{ role: "user", content: questions[0] }];
    const first = await client.responses.create({ model, input });
    const window = (await client.responses.compact({ model, input: [...input, ...first.output] })).output;
    const response = await client.responses.create({ model, input: [...window, { role: "user", content: "And?" }] });
    isText(response.output_text, 3); // the question, the summary, and the question after it
  },
};

const results = {};
for (const [name, conversation] of Object.entries(conversations))
  results[name] = await conversation().then(
    () => "ok",
    (error) => `${error.stack}`,
  );
console.log(JSON.stringify(results));
