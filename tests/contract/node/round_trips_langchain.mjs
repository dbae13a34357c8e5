// Conversations through LangChain.js: each message is appended as LangChain returned it.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

const questions = ["How is the weather in Rome?", "And tomorrow?", "Thank you. And in Lima?"];
const weather = tool(async ({ city }) => `It rains in ${city}.`, {
  name: "weather",
  schema: z.object({ city: z.string() }),
});
const models = {
  chat: new ChatOpenAI({ model: process.env.MODEL, maxRetries: 0 }),
  responses: new ChatOpenAI({ model: process.env.MODEL, maxRetries: 0, useResponsesApi: true }),
};

async function ask(model, messages, streamed) {
  if (!streamed) return model.invoke(messages);
  let whole;
  for await (const piece of await model.stream(messages)) whole = whole ? whole.concat(piece) : piece;
  return whole;
}

async function converse(model, streamed, tools) {
  const bound = tools ? model.bindTools([weather]) : model;
  const messages = [];
  for (const [index, question] of questions.entries()) {
    messages.push(new HumanMessage(question));
    let message = await ask(bound, messages, streamed);
    messages.push(message);
    if (tools) {
      const [call] = message.tool_calls;
      const content = await weather.invoke(call.args);
      messages.push(new ToolMessage({ content, tool_call_id: call.id, name: call.name }));
      message = await ask(bound, messages, streamed);
      messages.push(message);
    }
    const expected = tools ? "The tool said: It rains in Rome." : `This is answer ${index + 1}.`;
    if (message.text !== expected) throw new Error(`turn ${index + 1}: ${message.text}`);
  }
}

async function parse(model) {
  const structured = model.withStructuredOutput(z.object({ city: z.string() }), { includeRaw: true });
  const messages = [];
  for (const question of questions) {
    messages.push(new HumanMessage(question));
    const { raw, parsed } = await structured.invoke(messages);
    if (parsed?.city !== "Rome") throw new Error(JSON.stringify(parsed));
    messages.push(raw);
  }
}

const results = {};
async function record(label, conversation) {
  results[label] = await conversation.then(
    () => "ok",
    (error) => `${error.stack}`,
  );
}
for (const [name, model] of Object.entries(models)) {
  for (const streamed of [false, true])
    for (const tools of [false, true])
      await record(
        [name, streamed ? "streamed" : "plain", tools ? "tools" : "text"].join(" "),
        converse(model, streamed, tools),
      );
  await record(`${name} parsed`, parse(model));
}
console.log(JSON.stringify(results));
