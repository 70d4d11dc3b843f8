// Answers of chat models: streamed, and shown as text or as tokens with their probabilities.
"use strict";

// Probabilities below these get a deeper shade each.
const SHADES = [0.05, 0.25, 0.6, 0.9];

// Send a request and call `update` with the answer so far: text, reasoning, calls of functions,
// tokens. Throws the API's error. Aborted by the signal of `controller`.
async function streamChat(body, signal, update) {
  const startedAt = performance.now();
  const answer = { content: "", reasoning: "", calls: [], tokens: [], finish: "", usage: null, firstMs: null, totalMs: 0 };
  const response = await fetch(`${consoleRoot}/api/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": csrfToken },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  leaveIfEnded(response);
  if (!response.ok) {
    const error = (await response.json().catch(() => ({}))).error;
    throw new Error(error?.message || `The server answered with status ${response.status}.`);
  }
  for await (const event of readEvents(response.body)) {
    if (event.error) throw new Error(event.error.message || "The answer broke off.");
    answer.usage = event.usage || answer.usage;
    answer.totalMs = performance.now() - startedAt;
    const choice = event.choices?.[0];
    if (!choice) continue;
    answer.firstMs ??= answer.totalMs;
    addDelta(answer, choice);
    update(answer);
  }
  update(answer);
  return answer;
}

// The JSON of each server-sent event, up to [DONE].
async function* readEvents(stream) {
  let rest = "";
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function addDelta(answer, choice) {
  const delta = choice.delta || {};
  answer.content += delta.content || "";
  answer.reasoning += delta.reasoning_content || "";
  answer.finish = choice.finish_reason || answer.finish;
  answer.tokens.push(...(choice.logprobs?.content || []));
  for (const part of delta.tool_calls || []) {
    const call = (answer.calls[part.index ?? 0] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
    call.id = part.id || call.id;
    call.function.name += part.function?.name || "";
    call.function.arguments += part.function?.arguments || "";
  }
}

// Show a complete answer in `place`.
function showAnswer(place, answer, withProbabilities) {
  place.replaceChildren();
  if (answer.reasoning) {
    const details = addElement(place, "details", "reasoning");
    addElement(details, "summary", "", "Reasoning");
    addElement(details, "p", "text", answer.reasoning);
  }
  if (withProbabilities && answer.tokens.length) showTokens(place, answer.tokens);
  else addElement(place, "p", "text", answer.content);
  for (const call of answer.calls.filter(Boolean)) {
    const shown = addElement(place, "div", "call");
    addElement(shown, "strong", "", call.function.name);
    addElement(shown, "code", "", call.function.arguments);
  }
}

// Tokens, each above its probability. Arrow keys go from one to the next, and its alternatives are
// shown below.
function showTokens(place, tokens) {
  const list = addElement(place, "div", "tokens");
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "Tokens with their probabilities; arrow keys go through them");
  const detail = addElement(place, "p", "token-detail muted", "Choose a token to see what else was likely.");
  detail.setAttribute("aria-live", "polite");
  const buttons = tokens.map((token, index) => {
    const probability = Math.exp(token.logprob);
    const button = addElement(list, "button", "token");
    button.type = "button";
    button.tabIndex = index ? -1 : 0;
    button.dataset.shade = SHADES.filter((bound) => probability < bound).length;
    addElement(button, "span", "token-text", token.token.replaceAll("\n", "↵"));
    addElement(button, "span", "token-figure", formatPercent(probability));
    if (token.token.includes("\n")) addElement(list, "span", "line-end");
    button.addEventListener("focus", () => showAlternatives(detail, token));
    button.addEventListener("mouseenter", () => showAlternatives(detail, token));
    return button;
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = step && buttons[buttons.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    document.activeElement.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

function showAlternatives(place, token) {
  const others = (token.top_logprobs || []).filter((other) => other.token !== token.token);
  const describe = (each) => `${JSON.stringify(each.token)} ${formatPercent(Math.exp(each.logprob))}`;
  const rest = others.length ? `; likely were also ${others.map(describe).join(", ")}` : "";
  place.textContent = `${describe(token)}${rest}`;
}

function describeAnswer(answer) {
  const parts = [];
  if (answer.usage) parts.push(answer.usage.completion_tokens === 1 ? "1 token" : `${answer.usage.completion_tokens} tokens`);
  if (answer.firstMs !== null) parts.push(`first after ${Math.round(answer.firstMs)} ms`);
  const seconds = (answer.totalMs - (answer.firstMs ?? 0)) / 1000;
  if (answer.usage && seconds > 0.05) parts.push(`${((answer.usage.completion_tokens - 1) / seconds).toFixed(1)} tokens/s`);
  const ends = { length: "stopped at the limit of tokens", tool_calls: "calls a function", stopped: "stopped by you" };
  if (ends[answer.finish]) parts.push(ends[answer.finish]);
  return parts.join(" · ");
}

function formatPercent(share) {
  const percent = share * 100;
  return percent >= 99.95 ? "100%" : percent >= 1 ? `${percent.toFixed(percent < 10 ? 1 : 0)}%` : percent >= 0.1 ? `${percent.toFixed(1)}%` : "<0.1%";
}

function addElement(parent, tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}
