// Vercel's AI SDK, by its provider for OpenAI and by that for services like it.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, jsonSchema, streamText, tool } from "ai";
import { EMBEDDER, KEY, LONG, MONTH, MONTHS, QUESTION, RAG, RAW, V1, call, raises, waitToBeLetGo } from "./calls.mjs";

const openai = createOpenAI({ baseURL: V1, apiKey: KEY });
const like = createOpenAICompatible({ name: "rag", baseURL: V1, apiKey: KEY, supportsStructuredOutputs: true });
const once = { maxRetries: 0 };
const tools = { zapamti: tool({ description: "Remember a month.", inputSchema: jsonSchema(MONTH) }) };

await call("chat", async () => {
  assert((await generateText({ model: like(RAG), prompt: QUESTION, maxOutputTokens: 32, ...once })).text);
});

await call("stream", async () => {
  const { textStream } = streamText({ model: like(RAW), prompt: QUESTION, maxOutputTokens: 32, ...once });
  let pieces = 0;
  for await (const _ of textStream) pieces += 1;
  assert(pieces > 1);
});

await call("responses", async () => {
  // What the provider calls unless it is told otherwise.
  assert((await generateText({ model: openai(RAG), prompt: QUESTION, ...once })).text);
});

await call("responses, stream", async () => {
  const result = streamText({ model: openai(RAW), prompt: QUESTION, maxOutputTokens: 32, ...once });
  let text = "";
  for await (const piece of result.textStream) text += piece;
  assert(text && (await result.usage).outputTokens > 1);
});

await call("embeddings", async () => {
  const values = ["Rok je 15 dana.", QUESTION];
  const { embeddings } = await embedMany({ model: openai.embedding(EMBEDDER), values, ...once });
  assert.equal(embeddings.length, 2);
});

await call("structured output", async () => {
  for (const model of [openai.chat(RAW), openai(RAW), like(RAW)]) {
    const output = Output.object({ schema: jsonSchema(MONTH) });
    assert(MONTHS.includes((await generateText({ model, prompt: QUESTION, output, ...once })).output.mjesec));
  }
});

await call("tools", async () => {
  for (const model of [openai.chat(RAW), openai(RAW), like(RAW)]) {
    const asked = { model, prompt: QUESTION, tools, toolChoice: "required", ...once };
    assert(MONTHS.includes((await generateText(asked)).toolCalls[0].input.mjesec));
    const called = await streamText({ ...asked, toolChoice: { type: "tool", toolName: "zapamti" } }).toolCalls;
    assert(MONTHS.includes(called[0].input.mjesec));
  }
});

await call("errors", async () => {
  const wrong = { model: like(RAG), prompt: QUESTION, temperature: 3, ...once };
  assert.equal((await raises(APICallError, () => generateText(wrong), "temperature")).statusCode, 400);
  const unknown = { model: openai("gpt-4o"), prompt: QUESTION, ...once };
  assert.equal((await raises(APICallError, () => generateText(unknown), "gpt-4o")).statusCode, 404);
});

await call("hang-up", async () => {
  const aborting = new AbortController();
  const { textStream } = streamText({
    model: like(RAW), prompt: QUESTION, maxOutputTokens: LONG, abortSignal: aborting.signal,
    providerOptions: { rag: { ignore_eos: true } }, ...once,
  });
  for await (const _ of textStream) break;
  aborting.abort();
  await new Promise((resolve) => setTimeout(resolve, 100));
});

waitToBeLetGo();
