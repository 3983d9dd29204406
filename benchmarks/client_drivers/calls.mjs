// A driver's calls, as in calls.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const V1 = `${process.env.RAG_URL}/v1`;
export const KEY = process.env.RAG_KEY;
export const RAG = "rag";
export const RAW = process.env.RAG_RAW_MODEL;
export const EMBEDDER = process.env.RAG_EMBEDDER;
export const QUESTION = "U kojem roku se podnosi žalba?";
export const MONTHS = ["siječanj", "veljača"];
export const MONTH = {
  type: "object",
  properties: { mjesec: { type: "string", enum: MONTHS } },
  required: ["mjesec"],
  additionalProperties: false,
};
export const LONG = 4000;

export async function call(name, make) {
  const told = { call: name };
  try {
    await make();
  } catch (error) {
    told.error = error?.stack ?? String(error);
    if (error?.cause) told.error += `\n${error.cause.stack ?? error.cause}`;
  }
  console.log(`\n${JSON.stringify(told)}`);
}

export async function raises(kind, make, ...words) {
  let raised;
  try {
    await make();
  } catch (error) {
    raised = error;
  }
  assert(raised instanceof kind, `no ${kind.name} was raised, but ${raised}`);
  for (const word of words) assert(raised.message.includes(word), `${word} is not in: ${raised.message}`);
  return raised;
}

export function waitToBeLetGo() {
  console.log(`\n${JSON.stringify({ done: true })}`);
  readFileSync(0);
  process.exit();
}
