// Embeddings by the OpenAI SDK for Node.js and Vercel's AI SDK, unmodified; prints what they got as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, embedMany } from "ai";
import OpenAI from "openai";

const input = JSON.parse(process.env.TEXTS);
const id = process.env.EMBEDDING_MODEL;
const at = { baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY };
const client = new OpenAI({ maxRetries: 0 });
const compatible = createOpenAICompatible({ name: "ours", ...at }).embeddingModel(id);
const official = createOpenAI(at).embedding(id);

const vectors = (answer) => answer.data.map((entry) => entry.embedding);
const many = async (model) => (await embedMany({ model, values: input, maxRetries: 0 })).embeddings;
const one = await embed({ model: compatible, value: input[0], maxRetries: 0 });

console.log(
  JSON.stringify({
    node: vectors(await client.embeddings.create({ model: id, input })),
    nodeFloats: vectors(await client.embeddings.create({ model: id, input, encoding_format: "float" })),
    compatible: await many(compatible),
    official: await many(official),
    single: one.embedding,
    tokens: one.usage.tokens,
  }),
);
