// OpenAI's Node SDK on responses, batches and structured outputs; test_clients.py sets the environment.
import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI, { BadRequestError, NotFoundError, toFile } from "openai";
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";

import { Customer, MODEL, Place, QUESTION } from "./inputs.mjs";

const client = new OpenAI({ maxRetries: 0 });
const REQUEST = { model: MODEL, input: QUESTION, temperature: 0, max_output_tokens: 300 };
const CHAT = {
  model: MODEL,
  messages: [{ role: "user", content: QUESTION }],
  temperature: 0,
  max_completion_tokens: 300,
};
const WEATHER = zodResponsesFunction({ name: "look_up_weather", parameters: Place });

async function collect(page) {
  const items = [];
  for await (const item of page) items.push(item);
  return items;
}

test("a response, stored, listed and deleted", async () => {
  const response = await client.responses.create({ ...REQUEST, instructions: "Be brief.", metadata: { a: "b" } });
  assert.ok(["completed", "incomplete"].includes(response.status));
  assert.ok(response.output_text.length > 0);
  assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
  const stored = await client.responses.retrieve(response.id);
  assert.deepEqual(stored.output, response.output);
  const items = await collect(client.responses.inputItems.list(response.id, { limit: 1 }));
  assert.equal(items[0].content[0].text, QUESTION);
  await client.responses.delete(response.id);
  await assert.rejects(client.responses.retrieve(response.id), NotFoundError);
});

test("a streamed response is the same as a whole one", async () => {
  const request = { ...REQUEST, max_output_tokens: 16, store: false };
  const whole = await client.responses.create(request);
  const stream = client.responses.stream(request);
  let text = "";
  const numbers = [];
  for await (const event of stream) {
    numbers.push(event.sequence_number);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  const last = await stream.finalResponse();
  assert.equal(text, whole.output_text);
  assert.equal(last.output_text, whole.output_text);
  assert.equal(last.status, whole.status);
  assert.deepEqual(numbers, numbers.map((_, index) => index));
});

test("a parsed response", async () => {
  const response = await client.responses.parse({ ...REQUEST, text: { format: zodTextFormat(Customer, "customer") } });
  Customer.parse(response.output_parsed);
});

test("a round trip of a tool, by the earlier response and by its items", async () => {
  const first = await client.responses.parse({ ...REQUEST, tools: [WEATHER], tool_choice: "required" });
  const call = first.output.find((item) => item.type === "function_call");
  Place.parse(call.parsed_arguments);
  const result = { type: "function_call_output", call_id: call.call_id, output: "sunny" };
  const continued = await client.responses.create({
    ...REQUEST, tools: [WEATHER], tool_choice: "none", previous_response_id: first.id, input: [result],
  });
  assert.ok(continued.output_text.length > 0);
  const { parsed_arguments: _, ...sent } = call;
  const repeated = await client.responses.create({
    ...REQUEST, tools: [WEATHER], tool_choice: "none", store: false,
    input: [{ role: "user", content: QUESTION }, sent, result],
  });
  assert.equal(repeated.output_text, continued.output_text);
});

test("a conversation", async () => {
  const conversation = await client.conversations.create({ metadata: { topic: "demo" } });
  await client.responses.create({ ...REQUEST, conversation: conversation.id, max_output_tokens: 16 });
  const items = await collect(client.conversations.items.list(conversation.id, { order: "asc" }));
  assert.deepEqual(items.map((item) => item.role), ["user", "assistant"]);
  assert.equal((await client.conversations.delete(conversation.id)).deleted, true);
});

test("an input that is longer than the context, with and without truncation", async () => {
  const turn = (number) => ({ role: "user", content: `${number} ${"word ".repeat(900)}` });
  const input = [...Array.from({ length: 12 }, (_, number) => turn(number)), { role: "user", content: "Say hello." }];
  const request = { ...REQUEST, input, max_output_tokens: 16, store: false };
  await assert.rejects(client.responses.create(request), (error) => {
    assert.ok(error instanceof BadRequestError);
    assert.equal(error.code, "context_length_exceeded");
    assert.equal(error.param, "input");
    return true;
  });
  const response = await client.responses.create({ ...request, truncation: "auto" });
  assert.equal(response.truncation, "auto");
  assert.ok(response.usage.output_tokens > 0);
});

test("a response in the background", async () => {
  let response = await client.responses.create({ ...REQUEST, background: true, max_output_tokens: 16 });
  const deadline = Date.now() + 240_000;
  while (["queued", "in_progress"].includes(response.status)) {
    assert.ok(Date.now() < deadline, "the response was not made in time");
    await new Promise((resolve) => setTimeout(resolve, 200));
    response = await client.responses.retrieve(response.id);
  }
  assert.ok(response.output_text.length > 0);
});

test("a batch of responses", async () => {
  const lines = ["Say hello.", "Say goodbye."].map((input, number) =>
    JSON.stringify({
      custom_id: `line-${number}`, method: "POST", url: "/v1/responses",
      body: { model: MODEL, input, max_output_tokens: 16 },
    }),
  );
  const file = await client.files.create({
    file: await toFile(Buffer.from(lines.join("\n")), "batch.jsonl"), purpose: "batch",
  });
  let batch = await client.batches.create({
    input_file_id: file.id, endpoint: "/v1/responses", completion_window: "24h",
  });
  const deadline = Date.now() + 240_000;
  while (["validating", "in_progress", "finalizing"].includes(batch.status)) {
    assert.ok(Date.now() < deadline, "the batch has not ended in time");
    await new Promise((resolve) => setTimeout(resolve, 200));
    batch = await client.batches.retrieve(batch.id);
  }
  assert.equal(batch.status, "completed", JSON.stringify(batch.errors));
  const answers = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map(JSON.parse);
  assert.deepEqual(answers.map((each) => each.custom_id), ["line-0", "line-1"]);
  assert.ok(answers.every((each) => each.response.body.object === "response"));
});

test("chat completions: parsed, and with a tool that the SDK runs", async () => {
  const parsed = await client.chat.completions.parse({
    ...CHAT, response_format: zodResponseFormat(Customer, "customer"),
  });
  Customer.parse(parsed.choices[0].message.parsed);
  const places = [];
  const weather = zodFunction({
    name: "look_up_weather", parameters: Place,
    function: ({ city }) => {
      places.push(city);
      return `sunny in ${city}`;
    },
  });
  const choice = { type: "function", function: { name: "look_up_weather" } };
  const runner = client.chat.completions.runTools({ ...CHAT, tools: [weather], tool_choice: choice });
  await runner.done();
  assert.ok(["Bern", "Chur"].includes(places[0]));
});
