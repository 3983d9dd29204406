// OpenAI's client for Node, as its documentation uses it.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { EMBEDDER, KEY, LONG, MONTH, MONTHS, QUESTION, RAG, RAW, V1, call, raises, waitToBeLetGo } from "./calls.mjs";

const client = new OpenAI({ baseURL: V1, apiKey: KEY, maxRetries: 0 });
const messages = [{ role: "user", content: QUESTION }];
const tools = [{ type: "function", function: { name: "zapamti", description: "Remember a month.", parameters: MONTH } }];

await call("models", async () => {
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert(models.includes(RAG) && models.includes(RAW));
});

await call("chat", async () => {
  const answer = await client.chat.completions.create({ model: RAG, messages, max_tokens: 32 });
  assert(answer.choices[0].message.content && answer.choices[0].message.sources.length);
});

await call("stream", async () => {
  let pieces = 0;
  const asked = { model: RAW, messages, max_tokens: 32, stream: true, stream_options: { include_usage: true } };
  let usage;
  for await (const chunk of await client.chat.completions.create(asked)) {
    pieces += chunk.choices[0]?.delta.content ? 1 : 0;
    usage = chunk.usage;
  }
  assert(pieces > 1 && usage.completion_tokens > 1);
});

await call("responses", async () => {
  const answer = await client.responses.create({ model: RAG, input: QUESTION, max_output_tokens: 32 });
  assert(answer.output_text);
  const final = await client.responses.stream({ model: RAW, input: QUESTION, max_output_tokens: 32 }).finalResponse();
  assert(final.output[0].content[0].text);
});

await call("embeddings", async () => {
  const made = await client.embeddings.create({ model: EMBEDDER, input: ["Rok je 15 dana.", QUESTION] });
  assert.equal(made.data.length, 2);
  assert(Math.abs(made.data[0].embedding.reduce((sum, each) => sum + each * each, 0) - 1) < 1e-3);
});

await call("structured output", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "m", schema: MONTH, strict: true } };
  const answer = await client.chat.completions.parse({ model: RAW, messages, response_format });
  assert(MONTHS.includes(JSON.parse(answer.choices[0].message.content).mjesec));
});

await call("tools", async () => {
  const answer = await client.chat.completions.create({ model: RAW, messages, tools, tool_choice: "required" });
  assert(MONTHS.includes(JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments).mjesec));
  const tool_choice = { type: "function", function: { name: "zapamti" } };
  const stream = client.chat.completions.stream({ model: RAW, messages, tools, tool_choice });
  const [called] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
  assert(MONTHS.includes(JSON.parse(called.function.arguments).mjesec));
});

await call("errors", async () => {
  const wrong = { model: RAG, messages, temperature: 3 };
  const error = await raises(OpenAI.BadRequestError, () => client.chat.completions.create(wrong), "temperature");
  assert.equal(error.param, "temperature");
  await raises(OpenAI.NotFoundError, () => client.models.retrieve("gpt-4o"), "gpt-4o");
  const stranger = new OpenAI({ baseURL: V1, apiKey: "wrong", maxRetries: 0 });
  await raises(OpenAI.AuthenticationError, () => stranger.models.list());
});

await call("hang-up", async () => {
  const stream = await client.chat.completions.create({
    model: RAW, messages, max_tokens: LONG, stream: true, ignore_eos: true,
  });
  for await (const _ of stream) break;
  stream.controller.abort();
  await new Promise((resolve) => setTimeout(resolve, 100));
});

waitToBeLetGo();
