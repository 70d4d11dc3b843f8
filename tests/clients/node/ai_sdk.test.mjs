// The Vercel AI SDK, which calls responses by default; test_clients.py sets the environment.
import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateObject, generateText, isStepCount, Output, streamObject, streamText, tool } from "ai";

import { Customer, MODEL, Place, QUESTION } from "./inputs.mjs";

const openai = createOpenAI({});
// Responses are the default; chats are asked for by name.
const models = { responses: openai(MODEL), chat: openai.chat(MODEL) };
const SETTINGS = { temperature: 0, maxOutputTokens: 300, maxRetries: 0 };
const STRICT = { providerOptions: { openai: { strictJsonSchema: true } } };

function makeWeather(places) {
  return tool({
    description: "Look up the weather of a city.",
    inputSchema: Place,
    strict: true,
    execute: async ({ city }) => {
      places.push(city);
      return { sky: `sunny in ${city}` };
    },
  });
}

for (const [kind, model] of Object.entries(models)) {
  const request = { model, ...SETTINGS };

  test(`generateText on ${kind}`, async () => {
    const answer = await generateText({ ...request, system: "Be brief.", prompt: "Say hello.", maxOutputTokens: 16 });
    assert.ok(answer.text.length > 0);
    assert.ok(["stop", "length"].includes(answer.finishReason));
    assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0);
    assert.deepEqual(answer.warnings ?? [], []);
  });

  test(`generateText with a tool, in steps, on ${kind}`, async () => {
    const places = [];
    const answer = await generateText({
      ...request,
      prompt: QUESTION,
      tools: { weather: makeWeather(places) },
      toolChoice: "required",
      // So that the result is sent, and the model answers it.
      prepareStep: ({ stepNumber }) => (stepNumber > 0 ? { toolChoice: "none" } : {}),
      stopWhen: isStepCount(2),
    });
    assert.equal(answer.steps.length, 2);
    assert.ok(places.length > 0 && places.every((city) => ["Bern", "Chur"].includes(city)));
    assert.equal(answer.steps[0].finishReason, "tool-calls");
    assert.equal(answer.steps[0].toolResults[0].output.sky, `sunny in ${places[0]}`);
    assert.ok(answer.steps[1].text.length > 0);
  });

  test(`generateObject on ${kind}`, async () => {
    const answer = await generateObject({ ...request, schema: Customer, prompt: QUESTION, ...STRICT });
    Customer.parse(answer.object);
  });

  test(`an object as output of generateText on ${kind}`, async () => {
    const answer = await generateText({ ...request, output: Output.object({ schema: Customer }), prompt: QUESTION });
    Customer.parse(answer.output);
  });

  test(`streamText on ${kind}`, async () => {
    const messages = [
      { role: "user", content: "My name is Ada." },
      { role: "assistant", content: "Hello Ada." },
      { role: "user", content: "What is my name?" },
    ];
    const whole = await generateText({ ...request, messages, maxOutputTokens: 16 });
    const stream = streamText({ ...request, messages, maxOutputTokens: 16, onError: ({ error }) => { throw error; } });
    let text = "";
    for await (const part of stream.textStream) text += part;
    assert.equal(text, whole.text);
    assert.equal(await stream.finishReason, whole.finishReason);
    assert.equal((await stream.usage).totalTokens, whole.usage.totalTokens);
  });

  test(`streamText with a tool, in steps, on ${kind}`, async () => {
    const places = [];
    const stream = streamText({
      ...request,
      prompt: QUESTION,
      tools: { weather: makeWeather(places) },
      toolChoice: "required",
      prepareStep: ({ stepNumber }) => (stepNumber > 0 ? { toolChoice: "none" } : {}),
      stopWhen: isStepCount(2),
    });
    const kinds = new Set();
    for await (const part of stream.fullStream) {
      assert.notEqual(part.type, "error", String(part.error));
      kinds.add(part.type);
    }
    for (const kindOfPart of ["tool-call", "tool-result", "text-delta", "finish"]) {
      assert.ok(kinds.has(kindOfPart), `${kindOfPart} of ${[...kinds]}`);
    }
    assert.ok(["Bern", "Chur"].includes(places[0]));
  });

  test(`streamObject on ${kind}`, async () => {
    const stream = streamObject({ ...request, schema: Customer, prompt: QUESTION, ...STRICT });
    const parts = [];
    for await (const part of stream.partialObjectStream) parts.push(part);
    Customer.parse(await stream.object);
    assert.ok(parts.length > 1, "it is streamed while it is generated");
  });

  test(`errors on ${kind}`, async () => {
    const unknown = kind === "chat" ? openai.chat("nobody") : openai("nobody");
    await assert.rejects(generateText({ ...SETTINGS, model: unknown, prompt: "Hi" }), (error) => {
      assert.ok(APICallError.isInstance(error));
      assert.equal(error.statusCode, 404);
      assert.equal(error.data.error.code, "model_not_found");
      return true;
    });
  });
}

test("responses without storage, and continued by their ids", async () => {
  const request = { model: models.responses, ...SETTINGS, maxOutputTokens: 16 };
  const first = await generateText({ ...request, prompt: "My name is Ada." });
  const previousResponseId = first.providerMetadata.openai.responseId;
  assert.match(previousResponseId, /^resp_/);
  const options = { openai: { previousResponseId, store: false, truncation: "auto" } };
  const second = await generateText({ ...request, prompt: "What is my name?", providerOptions: options });
  assert.ok(second.text.length > 0);
});

test("embeddings", async () => {
  const { embeddings } = await embedMany({
    model: openai.embedding(process.env.CLIENTS_ENCODER), values: ["a", "b"], maxRetries: 0,
  });
  assert.equal(embeddings.length, 2);
  assert.equal(embeddings[0].length, 384);
});
