// The matrix of prompts by checkpoints: cells are answered as many at a time as an engine batches.
"use strict";

const matrix = document.getElementById("matrix");
const MAX_CONCURRENT = 6;
const MAX_TOKENS = 256;
let asking = null;

// A row of the file as [what is asked, the right answer, build of a request from the edited text].
function readRow(row) {
  if (row.messages || row.input) {
    const messages = row.messages ? row.messages.slice(0, -1) : row.input.messages;
    const answer = row.messages ? row.messages.at(-1) : row.preferred_output?.at(-1);
    const asked = messages.findLastIndex((message) => message.role === "user");
    return { text: textOf(messages[asked]), expected: textOf(answer), build: (text) => ({ messages: messages.map((message, index) => (index === asked ? { ...message, content: text } : message)), tools: row.tools }) };
  }
  if (row.context !== undefined) return { text: row.question, expected: row.answers.text[0] || "no answer", build: (text) => ({ question: { value: text }, context: { value: row.context } }) };
  const text = row.text ?? row.prompt ?? (row.tokens || []).join(" ");
  const expected = row.completion ?? row.label ?? row.labels?.join(", ") ?? "";
  return { text, expected, build: (edited) => ({ text: { value: edited }, messages: [{ role: "user", content: edited }] }) };
}

function textOf(message) {
  const content = message?.content;
  return typeof content === "string" ? content : (content || []).map((part) => part.text || "").join("");
}

function addPrompt(row) {
  const body = matrix.tBodies[0];
  const prompt = readRow(row);
  const line = addElement(body, "tr");
  const cell = addElement(line, "td", "prompt");
  const label = addElement(cell, "label", "visually-hidden", `Prompt ${body.rows.length}`);
  const field = addElement(cell, "textarea");
  field.id = `prompt-${body.rows.length}`;
  label.htmlFor = field.id;
  field.value = prompt.text || "";
  if (prompt.expected) addElement(cell, "p", "text muted expected", `File: ${prompt.expected}`);
  for (const column of matrix.tHead.rows[0].cells) {
    if (column.dataset.model) addElement(line, "td", "answer-cell").dataset.model = column.dataset.model;
  }
  line.prompt = prompt;
  const add = document.getElementById("add-prompt");
  if (add) add.disabled = body.rows.length >= Number(matrix.dataset.limit);
}

async function askAll() {
  if (asking) return;
  asking = new AbortController();
  const { signal } = asking;
  setBusy(true);
  const cells = [...matrix.tBodies[0].rows].filter((line) => line.querySelector("textarea").value.trim()).flatMap((line) => [...line.cells].slice(1).map((cell) => ({ line, cell })));
  let done = 0;
  const work = async () => {
    while (cells.length && !signal.aborted) {
      const { line, cell } = cells.shift();
      await askCell(line, cell, signal);
      done += 1;
      document.getElementById("status").textContent = `${done} of ${done + cells.length} answered`;
    }
  };
  await Promise.all(Array.from({ length: MAX_CONCURRENT }, work));
  document.getElementById("status").textContent = signal.aborted ? "Stopped." : "Done.";
  asking = null;
  setBusy(false);
}

async function askCell(line, cell, signal) {
  const task = matrix.dataset.task;
  const request = line.prompt.build(line.querySelector("textarea").value);
  cell.removeAttribute("data-right");
  cell.replaceChildren();
  const text = addElement(cell, "p", "text", "…");
  try {
    if (task === "chat") {
      const body = { model: cell.dataset.model, messages: request.messages, temperature: 0, seed: 42, max_tokens: MAX_TOKENS, ...(request.tools ? { tools: request.tools } : {}) };
      const answer = await streamChat(body, signal, (partial) => { text.textContent = partial.content || partial.reasoning || "…"; });
      showAnswer(cell, answer, false);
      for (const part of cell.querySelectorAll(".text")) if (part.scrollHeight > part.clientHeight) part.tabIndex = 0;
      cell.toggleAttribute("data-right", Boolean(line.prompt.expected) && answer.content.trim() === line.prompt.expected.trim());
    } else {
      const answer = await callApi("POST", ...ENCODER_TASKS[task].request(cell.dataset.model, request));
      cell.replaceChildren();
      ENCODER_TASKS[task].show(cell, answer, request);
    }
  } catch (error) {
    cell.replaceChildren();
    if (signal.aborted) return;
    addElement(cell, "div", "problem", error.message).setAttribute("role", "alert");
  }
}

function setBusy(isBusy) {
  document.getElementById("ask-all").disabled = isBusy;
  document.getElementById("stop-all").disabled = !isBusy;
}

function choose(model) {
  for (const cell of matrix.querySelectorAll("[data-model]")) cell.toggleAttribute("data-chosen", cell.dataset.model === model);
  document.getElementById("choice").hidden = false;
  document.getElementById("choice-name").textContent = model;
  document.getElementById("choice-copy").dataset.copy = model;
  document.getElementById("choice-playground").href = `${consoleRoot}/playground?model=${encodeURIComponent(model)}`;
  document.getElementById("choice-model").href = `${consoleRoot}/models/${model.split("/").map(encodeURIComponent).join("/")}`;
  history.replaceState(null, "", `#${new URLSearchParams({ chosen: model })}`);
}

// Mark each column with the aliases that point to its model.
function showAliases(aliases) {
  for (const cell of matrix.querySelectorAll("th[data-model]")) {
    const list = cell.querySelector(".aliases");
    list.replaceChildren();
    for (const [name, model] of Object.entries(aliases)) if (model === cell.dataset.model) addElement(list, "span", "tag", name);
  }
}

// Give the chosen model an alias, or point the alias of this name to it.
async function saveAlias(aliases) {
  const field = document.getElementById("alias-name");
  const name = field.value.trim();
  const model = document.getElementById("choice-name").textContent;
  showAliasError("");
  try {
    const isKnown = Object.hasOwn(aliases, name);
    await callApi("POST", `/v1/aliases${isKnown ? `/${encodeURIComponent(name)}` : ""}`, isKnown ? { model } : { name, model });
    aliases[name] = model;
    showAliases(aliases);
    notify(`Requests to ${name} get this model now.`);
  } catch (error) {
    showAliasError(error.message);
    field.focus();
  }
}

function showAliasError(message) {
  const problem = document.getElementById("alias-error");
  problem.textContent = message;
  problem.hidden = !message;
  problem.parentElement.toggleAttribute("data-invalid", Boolean(message));
  const field = document.getElementById("alias-name");
  field.setAttribute("aria-invalid", String(Boolean(message)));
  field.setAttribute("aria-describedby", message ? "alias-error" : "alias-hint");
}

if (matrix) {
  const aliases = JSON.parse(matrix.dataset.aliases);
  showAliases(aliases);
  document.getElementById("alias-form").addEventListener("submit", (event) => {
    event.preventDefault();
    saveAlias(aliases);
  });
  const rows = JSON.parse(matrix.dataset.rows);
  for (const row of rows.length ? rows : [{ text: "" }]) addPrompt(row);
  document.getElementById("ask-all").addEventListener("click", askAll);
  document.getElementById("stop-all").addEventListener("click", () => asking?.abort());
  document.getElementById("add-prompt")?.addEventListener("click", () => addPrompt({ text: "" }));
  matrix.addEventListener("change", (event) => { if (event.target.name === "chosen") choose(event.target.value); });
  const chosen = new URLSearchParams(location.hash.slice(1)).get("chosen");
  const radio = [...matrix.querySelectorAll("[name=chosen]")].find((input) => input.value === chosen);
  if (radio) { radio.checked = true; choose(chosen); }
}
