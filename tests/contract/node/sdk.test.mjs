// The official Node SDK against a running stack; test_node.py sets the environment variables.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI, { NotFoundError, toFile } from "openai";

const { BASE_URL, API_KEY, ADMIN_KEY, JOB, MODEL, BASE, ENCODER } = process.env;
const { HOOK, HOOK_SECRET, HOOK_HEADERS, HOOK_BODY } = process.env;
const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0 });
const admin = new OpenAI({ baseURL: BASE_URL, apiKey: ADMIN_KEY, adminAPIKey: ADMIN_KEY, maxRetries: 0 });
const HELLO = [{ role: "user", content: "Say hello." }];

const rows = Array.from({ length: 12 }, (_, index) =>
  JSON.stringify({
    messages: [
      { role: "user", content: `What follows ${index}?` },
      { role: "assistant", content: `${index + 1}` },
    ],
  }),
).join("\n");

async function collect(page) {
  const items = [];
  for await (const item of page) items.push(item);
  return items;
}

let file;

before(async () => {
  file = await client.files.create({ file: await toFile(Buffer.from(rows), "node.jsonl"), purpose: "fine-tune" });
});

after(async () => {
  await client.files.delete(file.id);
});

test("files", async () => {
  assert.equal((await client.files.retrieve(file.id)).status, "processed");
  assert.equal((await client.files.waitForProcessing(file.id)).id, file.id);
  assert.equal(await (await client.files.content(file.id)).text(), rows);
  const listed = await collect(client.files.list({ purpose: "fine-tune", limit: 1 }));
  assert.ok(listed.some((each) => each.id === file.id));
  const expiring = await client.files.create({
    file: await toFile(Buffer.from("text"), "a.txt"),
    purpose: "user_data",
    expires_after: { anchor: "created_at", seconds: 3600 },
  });
  assert.equal(expiring.expires_at, expiring.created_at + 3600);
  assert.equal((await client.files.delete(expiring.id)).deleted, true);
  await assert.rejects(client.files.retrieve(expiring.id), NotFoundError);
});

test("uploads in parts", async () => {
  const halves = [rows.slice(0, 300), rows.slice(300)];
  const upload = await client.uploads.create({
    bytes: rows.length, filename: "parts.jsonl", mime_type: "application/jsonl", purpose: "fine-tune",
  });
  const parts = await Promise.all(
    halves.map(async (half) => client.uploads.parts.create(upload.id, { data: await toFile(Buffer.from(half)) })),
  );
  const done = await client.uploads.complete(upload.id, { part_ids: parts.map((part) => part.id) });
  assert.equal(done.status, "completed");
  assert.equal(await (await client.files.content(done.file.id)).text(), rows);
  await client.files.delete(done.file.id);
  const other = await client.uploads.create({
    bytes: 4, filename: "b.txt", mime_type: "text/plain", purpose: "user_data",
  });
  assert.equal((await client.uploads.cancel(other.id)).status, "cancelled");
});

test("jobs", async () => {
  const job = await client.fineTuning.jobs.create({
    model: BASE,
    training_file: file.id,
    suffix: "node",
    seed: 3,
    metadata: { from: "node" },
    method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 1, batch_size: "auto" } } },
  });
  assert.equal(job.object, "fine_tuning.job");
  assert.deepEqual(job.metadata, { from: "node" });
  const matching = await client.fineTuning.jobs.list({ metadata: { from: "node" }, limit: 1 });
  assert.equal(matching.data[0].id, job.id);
  const cancelled = await client.fineTuning.jobs.cancel(job.id);
  assert.equal(cancelled.status, "cancelled");
  await assert.rejects(client.fineTuning.jobs.pause(job.id), { status: 400 });
  await assert.rejects(client.fineTuning.jobs.resume(job.id), { status: 400 });
  const events = await collect(client.fineTuning.jobs.listEvents(job.id, { limit: 1 }));
  assert.ok(events.some((event) => event.message.startsWith("Created fine-tuning job")));
});

test("null query parameters are ignored", async () => {
  const job = await client.fineTuning.jobs.create({ model: BASE, training_file: file.id });
  await client.fineTuning.jobs.cancel(job.id);
  const jobs = await collect(client.fineTuning.jobs.list({ metadata: null, after: null, limit: null }));
  assert.ok(jobs.some((each) => each.id === job.id));
  assert.ok(jobs.every((each) => !each.metadata || Object.keys(each.metadata).length === 0));
  const events = await client.fineTuning.jobs.listEvents(job.id, { after: null });
  assert.ok(events.data.length > 0);
  const files = await collect(client.files.list({ after: null, order: null, purpose: null }));
  assert.ok(files.some((each) => each.id === file.id));
  const created = await admin.admin.organization.adminAPIKeys.create({ name: "null from node" });
  const keys = await collect(admin.admin.organization.adminAPIKeys.list({ after: null, order: null }));
  assert.ok(keys.some((each) => each.id === created.id));
  await admin.admin.organization.adminAPIKeys.delete(created.id);
});

test("a finished job", async () => {
  const job = await client.fineTuning.jobs.retrieve(JOB);
  assert.equal(job.status, "succeeded");
  assert.equal(job.fine_tuned_model, MODEL);
  const checkpoints = await collect(client.fineTuning.jobs.checkpoints.list(JOB, { limit: 1 }));
  assert.ok(checkpoints.length > 1);
  assert.ok(checkpoints.every((each) => each.fine_tuning_job_id === JOB));
  const result = await client.files.content(job.result_files[0]);
  assert.ok((await result.text()).length > 100);
});

test("models", async () => {
  const names = (await collect(client.models.list())).map((model) => model.id);
  assert.ok(names.includes(BASE) && names.includes(MODEL));
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
  await assert.rejects(client.models.delete("ft:nobody"), NotFoundError);
});

test("chat completions, whole and streamed", async () => {
  const request = { model: MODEL, messages: HELLO, temperature: 0, max_completion_tokens: 12 };
  const whole = await client.chat.completions.create(request);
  const runner = client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
  const streamed = await runner.finalChatCompletion();
  assert.equal(streamed.choices[0].message.content, whole.choices[0].message.content);
  assert.deepEqual(await runner.totalUsage(), whole.usage);
});

test("completions and embeddings", async () => {
  const text = await client.completions.create({ model: BASE, prompt: "One, two,", max_tokens: 3, temperature: 0 });
  assert.ok(text.choices[0].text.length > 0);
  const defaulted = await client.completions.create({ model: BASE, prompt: null, max_tokens: 3, best_of: 0 });
  assert.equal(defaulted.usage.prompt_tokens, 1);
  const floats = await client.embeddings.create({ model: ENCODER, input: ["a", "b"], encoding_format: "float" });
  const base64 = await client.embeddings.create({ model: ENCODER, input: ["a", "b"] });
  assert.equal(base64.data.length, 2);
  base64.data[0].embedding.forEach((value, index) => {
    assert.ok(Math.abs(value - floats.data[0].embedding[index]) < 1e-6);
  });
});

test("graders", async () => {
  const grader = {
    type: "string_check", name: "exact", operation: "eq",
    input: "{{sample.output_text}}", reference: "{{item.answer}}",
  };
  const graded = await client.fineTuning.alpha.graders.run({ grader, model_sample: "4", item: { answer: "4" } });
  assert.equal(graded.reward, 1);
  assert.deepEqual((await client.fineTuning.alpha.graders.validate({ grader })).grader, grader);
});

test("webhook endpoints", async () => {
  const created = await client.webhooks.create({
    name: "node", url: "https://example.com/hook", event_types: ["fine_tuning.job.succeeded"],
  });
  assert.match(created.signing_secret ?? created.secret, /^whsec_/);
  const ids = (await collect(client.webhooks.list())).map((each) => each.id);
  assert.ok(ids.includes(created.id));
  assert.ok((await client.webhooks.eventTypes.list()).data.length > 0);
  assert.equal((await client.webhooks.update(created.id, { name: "later" })).name, "later");
  assert.equal((await client.webhooks.retrieve(created.id)).name, "later");
  const rotated = await client.webhooks.rotateSecret(created.id);
  assert.notEqual(rotated.signing_secret, created.signing_secret);
  await client.webhooks.delete(created.id);
});

test("a webhook's test and its signature", async () => {
  assert.equal((await client.webhooks.test(HOOK, { event_type: "fine_tuning.job.failed" })).success, true);
  const headers = JSON.parse(HOOK_HEADERS);
  await client.webhooks.verifySignature(HOOK_BODY, headers, HOOK_SECRET, 3600);
  const altered = HOOK_BODY.replace(JOB, "ftjob-other");
  await assert.rejects(client.webhooks.verifySignature(altered, headers, HOOK_SECRET, 3600));
});

test("projects, their keys, and permissions", async () => {
  const projects = admin.admin.organization.projects;
  const project = await projects.create({ name: "from node" });
  const account = await projects.serviceAccounts.create(project.id, { name: "ci" });
  const projectClient = new OpenAI({ baseURL: BASE_URL, apiKey: account.api_key.value, maxRetries: 0 });
  await assert.rejects(projectClient.models.retrieve(MODEL), NotFoundError);
  const granted = await collect(
    admin.fineTuning.checkpoints.permissions.create(MODEL, { project_ids: [project.id] }),
  );
  assert.equal((await projectClient.models.retrieve(MODEL)).id, MODEL);
  const listed = await collect(admin.fineTuning.checkpoints.permissions.list(MODEL));
  assert.deepEqual(listed.map((each) => each.id), [granted[0].id]);
  const revoked = await admin.fineTuning.checkpoints.permissions.delete(granted[0].id, {
    fine_tuned_model_checkpoint: MODEL,
  });
  assert.equal(revoked.deleted, true);
  await assert.rejects(projectClient.models.retrieve(MODEL), NotFoundError);
  assert.equal((await projects.archive(project.id)).status, "archived");
  await assert.rejects(projectClient.models.list(), { status: 401 });
});

test("service accounts and keys", async () => {
  const { projects, adminAPIKeys } = admin.admin.organization;
  const project = await projects.create({ name: "operations from node" });
  const inProject = { project_id: project.id };
  assert.equal((await projects.update(project.id, { name: "production" })).name, "production");
  assert.equal((await projects.retrieve(project.id)).name, "production");
  assert.ok((await collect(projects.list())).some((each) => each.id === project.id));

  const account = await projects.serviceAccounts.create(project.id, { name: "deploy" });
  await projects.serviceAccounts.update(account.id, { ...inProject, name: "release" });
  assert.equal((await projects.serviceAccounts.retrieve(account.id, inProject)).name, "release");
  assert.equal((await collect(projects.serviceAccounts.list(project.id))).length, 1);
  const second = await projects.serviceAccounts.apiKeys.create(account.id, { ...inProject, name: "second" });
  assert.equal((await projects.apiKeys.retrieve(second.id, inProject)).id, second.id);
  assert.equal((await collect(projects.apiKeys.list(project.id))).length, 2);
  assert.equal((await projects.apiKeys.delete(second.id, inProject)).deleted, true);
  assert.equal((await projects.serviceAccounts.delete(account.id, inProject)).deleted, true);
  await projects.archive(project.id);

  const created = await adminAPIKeys.create({ name: "from node" });
  assert.equal((await adminAPIKeys.retrieve(created.id)).id, created.id);
  assert.ok((await collect(adminAPIKeys.list())).some((each) => each.id === created.id));
  assert.equal((await adminAPIKeys.delete(created.id)).deleted, true);
});

test("errors have the SDK's classes", async () => {
  await assert.rejects(client.chat.completions.create({ model: "nobody", messages: HELLO }), (error) => {
    assert.ok(error instanceof NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.ok(error.requestID);
    return true;
  });
  const unauthorized = new OpenAI({ baseURL: BASE_URL, apiKey: "sk-wrong", maxRetries: 0 });
  await assert.rejects(unauthorized.models.list(), { status: 401, code: "invalid_api_key" });
});
