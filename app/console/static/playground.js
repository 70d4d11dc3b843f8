// The playground: a form, and one column per model with its own conversation.
"use strict";

const form = document.getElementById("prompt");
const MAX_COLUMNS = 4;
// Longer prompts are not kept in the URL.
const MAX_HASH_LENGTH = 2000;
const KEPT_FIELDS = ["system", "message", "text", "question", "context", "texts", "temperature", "max_tokens", "seed", "tools", "schema"];
const EXAMPLES = {
  tools: [{ type: "function", function: { name: "track_parcel", description: "Find where a parcel is", parameters: { type: "object", properties: { number: { type: "string" } }, required: ["number"] } } }],
  schema: { type: "object", properties: { label: { type: "string" }, reason: { type: "string" } }, required: ["label", "reason"], additionalProperties: false },
};
// Of each column: its element, and the messages of its conversation after the system prompt.
const columns = [];
let running = null;

function addColumn(name) {
  const element = document.getElementById("column-template").content.cloneNode(true).firstElementChild;
  const select = element.querySelector("[data-model]");
  // A checkpoint is in no list; whoever links to it says its name.
  if (name && ![...select.options].some((option) => option.value === name)) select.add(new Option(name, name));
  if (name) select.value = name;
  const column = { element, messages: [], turns: element.querySelector("[data-turns]"), get model() { return select.value; }, get task() { return select.selectedOptions[0]?.dataset.of || "chat"; } };
  select.addEventListener("change", () => { clearColumn(column); refresh(); });
  element.querySelector("[data-remove]").addEventListener("click", () => {
    columns.splice(columns.indexOf(column), 1);
    element.remove();
    refresh();
  });
  columns.push(column);
  document.getElementById("columns").append(element);
}

// The base of the first model, or another model of its task, that no column shows yet.
function chooseAnother() {
  const shown = columns.map((column) => column.model);
  const options = [...document.getElementById("column-template").content.querySelector("[data-model]").options];
  const base = options.find((option) => option.value === shown[0])?.dataset.base;
  const others = options.filter((option) => (option.dataset.of || "chat") === columns[0]?.task).map((option) => option.value);
  return [base, ...others].find((name) => name && !shown.includes(name)) || "";
}

// Show the form of the first model's task, and the state of the buttons.
function refresh() {
  const task = columns[0]?.task || "chat";
  form.dataset.of = task;
  for (const part of form.querySelectorAll("[data-task]")) part.hidden = !part.dataset.task.split(" ").includes(task);
  const hasTurns = columns.some((column) => column.messages.length);
  for (const id of ["undo", "clear"]) document.getElementById(id).disabled = !hasTurns || running !== null;
  document.getElementById("send").disabled = running !== null || !columns.length;
  document.getElementById("stop").disabled = running === null;
  document.getElementById("add-model").disabled = columns.length >= MAX_COLUMNS;
  for (const { element } of columns) element.querySelector("[data-remove]").hidden = columns.length === 1;
  const called = columns.some((column) => column.messages.at(-1)?.tool_calls);
  document.getElementById("tool-result-row").hidden = !called;
  if (!called) form.tool_result.checked = false;
  showCode();
  storeHash();
}

// The JSON of a field, undefined if it is empty. A fault is shown beside the field, and thrown.
function readJson(field) {
  const error = document.getElementById(`${field.id}-error`);
  const text = field.value.trim();
  let fault = "";
  let value;
  try {
    value = text ? JSON.parse(text) : undefined;
    if (field.id === "tools" && value && !Array.isArray(value)) value = [value];
    if (field.id === "schema" && value && (typeof value !== "object" || Array.isArray(value))) fault = "A schema is a JSON object.";
  } catch (problem) {
    fault = `This is not valid JSON: ${problem.message}`;
  }
  error.textContent = fault;
  error.hidden = !fault;
  field.closest(".field").toggleAttribute("data-invalid", Boolean(fault));
  field.setAttribute("aria-invalid", String(Boolean(fault)));
  if (fault) throw new Error(fault);
  return value;
}

function buildChatBody(column, added) {
  const system = form.system.value.trim();
  const tools = readJson(form.tools)?.map((tool) => (tool.type ? tool : { type: "function", function: tool }));
  const schema = readJson(form.schema);
  const number = (field) => (field.value === "" ? undefined : Number(field.value));
  const body = {
    model: column.model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...column.messages, ...added],
    temperature: number(form.temperature),
    max_tokens: number(form.max_tokens),
    seed: number(form.seed),
    tools,
    response_format: schema && { type: "json_schema", json_schema: schema.schema ? schema : { name: "answer", schema } },
    ...(form.probabilities.checked ? { logprobs: true, top_logprobs: 5 } : {}),
  };
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
}

// The messages that the form adds to a column's conversation: the user's, or results of calls.
function readAdded(column) {
  const content = form.message.value;
  const calls = column.messages.at(-1)?.tool_calls;
  if (!form.tool_result.checked) return [{ role: "user", content }];
  return (calls || []).map((call) => ({ role: "tool", tool_call_id: call.id, content }));
}

async function send() {
  const isChat = form.dataset.of === "chat";
  if (running || (isChat && !form.message.value.trim())) return;
  if (!form.reportValidity()) return;
  const asked = columns.filter((column) => !isChat || readAdded(column).length);
  const controller = new AbortController();
  let requests;
  try {
    requests = asked.map((column) => (isChat ? askChat : askEncoder)(column, controller.signal));
  } catch (error) {
    setStatus(error.message);
    return;
  }
  running = controller;
  setStatus(asked.length === 1 ? "Answering…" : `${asked.length} models are answering…`);
  if (isChat) form.message.value = "";
  refresh();
  const answered = await Promise.all(requests);
  running = null;
  // A message that no model answered is written once more only by who wants to.
  if (isChat && !answered.some(Boolean) && !form.message.value) form.message.value = asked[0].unanswered;
  setStatus(controller.signal.aborted ? "Stopped." : "Done.");
  refresh();
}

// Called before anything is sent, so that faults of the form stop all columns; then it waits.
function askChat(column, signal) {
  const added = readAdded(column);
  const body = buildChatBody(column, added);
  column.messages.push(...added);
  addElement(column.turns, "p", "turn-user text", added[0].content);
  return streamTurn(column, body, signal).then((isAnswered) => {
    if (!isAnswered) column.messages.length -= added.length;
    column.unanswered = added[0].content;
    return isAnswered;
  });
}

// Show an answer as it comes, and add it to the conversation. False if none came.
async function streamTurn(column, body, signal) {
  const turn = addElement(column.turns, "article", "turn-answer");
  const text = addElement(turn, "p", "text", "…");
  let partial = null;
  try {
    partial = await streamChat(body, signal, (answer) => {
      partial = answer;
      text.textContent = answer.content || answer.reasoning || "…";
      column.turns.scrollTop = column.turns.scrollHeight;
    });
  } catch (error) {
    if (!signal.aborted) {
      showFailure(turn, error.message);
      return false;
    }
    if (!partial) {
      text.textContent = "Stopped before the first token.";
      return false;
    }
    partial.finish = "stopped";
  }
  const calls = partial.calls.filter(Boolean);
  column.messages.push({ role: "assistant", content: partial.content || null, ...(calls.length ? { tool_calls: calls } : {}) });
  showAnswer(turn, partial, form.probabilities.checked);
  const row = { messages: [...body.messages, { role: "assistant", content: partial.content, ...(calls.length ? { tool_calls: calls } : {}) }], ...(body.tools ? { tools: body.tools } : {}) };
  addFoot(turn, describeAnswer(partial), partial.content, row);
  return true;
}

function askEncoder(column, signal) {
  const task = ENCODER_TASKS[column.task];
  if (!task || column.task !== form.dataset.of) {
    clearColumn(column);
    showFailure(column.turns, "This model has another task than the first one.");
    return Promise.resolve();
  }
  return showEncoderAnswer(column, task, task.request(column.model, form), signal);
}

async function showEncoderAnswer(column, task, [path, body], signal) {
  clearColumn(column);
  const startedAt = performance.now();
  try {
    const answer = await callApi("POST", path, body);
    if (signal.aborted) return;
    const turn = addElement(column.turns, "article", "turn-answer");
    task.show(turn, answer, form);
    addFoot(turn, `${Math.round(performance.now() - startedAt)} ms`, null, task.row(form, answer));
  } catch (error) {
    showFailure(column.turns, error.message);
  }
}

function addFoot(turn, text, copied, row) {
  const foot = addElement(turn, "div", "answer-foot");
  addElement(foot, "span", "", text);
  const add = addElement(foot, "button", "quiet", "Add to a file");
  add.type = "button";
  add.addEventListener("click", () => editRow(row));
  if (copied) {
    const copy = addElement(foot, "button", "quiet", "Copy");
    copy.type = "button";
    copy.dataset.copy = copied;
  }
}

function showFailure(place, message) {
  place.replaceChildren();
  const problem = addElement(place, "div", "problem", message);
  problem.setAttribute("role", "alert");
}

function clearColumn(column) {
  column.messages = [];
  column.turns.replaceChildren();
}

// Take back the last message of the user, and all that followed it.
function undo() {
  for (const column of columns) {
    const last = column.messages.findLastIndex((message) => message.role === "user");
    if (last < 0) continue;
    form.message.value = column.messages[last].content;
    column.messages.length = last;
    const shown = [...column.turns.children];
    const from = shown.findLastIndex((element) => element.classList.contains("turn-user") && element.textContent === form.message.value);
    for (const element of shown.slice(from)) element.remove();
  }
  form.message.focus();
  refresh();
}

function setStatus(text) {
  document.getElementById("status").textContent = text;
}

// The request that Send would make; with no new message, the one that was made last.
function buildNextBody(column) {
  if (form.message.value || !column.messages.length) return buildChatBody(column, readAdded(column));
  const end = column.messages.findLastIndex((message) => message.role !== "assistant") + 1;
  return buildChatBody({ ...column, model: column.model, messages: column.messages.slice(0, end) }, []);
}

function showCode() {
  const column = columns[0];
  if (!column) return;
  let request;
  try {
    request = column.task === "chat" ? ["/v1/chat/completions", buildNextBody(column)] : ENCODER_TASKS[column.task].request(column.model, form);
  } catch {
    return;
  }
  const root = location.origin + new URL(consoleRoot, location.origin).pathname.replace(/\/console$/, "");
  document.getElementById("code-python").textContent = writePython(root, ...request);
  document.getElementById("code-curl").textContent = writeCurl(root, ...request);
}

function storeHash() {
  const state = new URLSearchParams(columns.map((column) => ["model", column.model]));
  for (const name of KEPT_FIELDS) if (form[name].value !== form[name].defaultValue) state.set(name, form[name].value);
  if (form.probabilities.checked) state.set("probabilities", "1");
  const hash = `#${state}`;
  history.replaceState(null, "", hash.length <= MAX_HASH_LENGTH ? hash : location.pathname + location.search);
}

function readHash() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const name of KEPT_FIELDS) if (state.has(name)) form[name].value = state.get(name);
  form.probabilities.checked = state.has("probabilities");
  for (const name of ["system", "tools", "schema"]) if (form[name].value) document.getElementById(`${name}-details`).open = true;
  return state.getAll("model").slice(0, MAX_COLUMNS);
}

if (form) {
  for (const place of form.querySelectorAll("[data-place]")) place.remove();
  const named = readHash();
  for (const name of named.length ? named : JSON.parse(form.dataset.models)) addColumn(name);
  if (!columns.length) addColumn("");
  form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
  form.addEventListener("input", (event) => {
    if (event.target.dataset.json) try { readJson(event.target); } catch { /* It is shown beside the field. */ }
    if (event.target.matches("input, textarea")) refresh();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); }
  });
  form.addEventListener("click", async (event) => {
    const { example, copyFrom } = event.target.dataset;
    if (example) { form[example].value = JSON.stringify(EXAMPLES[example], null, 2); readJson(form[example]); refresh(); }
    if (copyFrom) { await navigator.clipboard.writeText(document.getElementById(copyFrom).textContent); notify("Copied."); }
  });
  document.getElementById("stop").addEventListener("click", () => running?.abort());
  document.getElementById("undo").addEventListener("click", undo);
  document.getElementById("clear").addEventListener("click", () => { columns.forEach(clearColumn); refresh(); form.message.focus(); });
  document.getElementById("add-model").addEventListener("click", () => { addColumn(chooseAnother()); refresh(); });
  refresh();
}
