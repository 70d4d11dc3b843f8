// Answers of encoders: bars of labels, marked entities, spans of answers, similarities of texts.
"use strict";

const MAX_BARS = 12;

// The request to a model of a task, as [path, body] of the API, and what shows its answer.
const ENCODER_TASKS = {
  classification: {
    request: (model, form) => ["/v1/classify", { model, input: form.text.value }],
    show: (place, answer) => showBars(place, answer.labels.map((label, index) => [label, answer.data[0].probs[index]])),
    row: (form, answer) => ({ text: form.text.value, label: answer.data[0].label }),
  },
  token_classification: {
    request: (model, form) => [`/models/${model}`, { inputs: form.text.value }],
    show: (place, answer, form) => showSpans(place, form.text.value, answer.map((span) => ({ ...span, label: span.entity_group || span.entity }))),
    row: (form, answer) => ({
      text: form.text.value,
      entities: answer.map((span) => ({ start: span.start, end: span.end, label: span.entity_group || span.entity })),
    }),
  },
  question_answering: {
    request: (model, form) => [`/models/${model}`, { inputs: { question: form.question.value, context: form.context.value }, parameters: { top_k: 3 } }],
    show: (place, answer, form) => showAnswerSpan(place, [answer].flat(), form.context.value),
    row: (form, answer) => {
      const best = [answer].flat()[0];
      const has = best && best.answer;
      return {
        context: form.context.value,
        question: form.question.value,
        answers: { text: has ? [best.answer] : [], answer_start: has ? [best.start] : [] },
      };
    },
  },
  embedding: {
    request: (model, form) => ["/v1/embeddings", { model, input: readTexts(form) }],
    show: (place, answer, form) => showSimilarities(place, readTexts(form), answer.data.map((item) => item.embedding)),
    row: (form) => ({ anchor: readTexts(form)[0], positive: readTexts(form)[1] || "" }),
  },
};

function readTexts(form) {
  return form.texts.value.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, 20);
}

function showBars(place, scores) {
  const sorted = scores.toSorted((one, other) => other[1] - one[1]);
  const list = addElement(place, "dl", "bars");
  for (const [label, share] of sorted.slice(0, MAX_BARS)) {
    const name = addElement(list, "dt", "", label);
    name.title = label;
    const value = addElement(list, "dd");
    const meter = addElement(value, "meter");
    meter.value = share;
    meter.setAttribute("aria-label", label);
    addElement(value, "span", "figure", formatPercent(share));
  }
  if (sorted.length > MAX_BARS) addElement(place, "p", "muted", `and ${sorted.length - MAX_BARS} less likely labels`);
}

// A text with its spans marked. Offsets count characters, which JavaScript's strings do not.
function showSpans(place, text, spans) {
  const characters = Array.from(text);
  const shown = addElement(place, "p", "text marked");
  let end = 0;
  for (const span of spans.toSorted((one, other) => one.start - other.start)) {
    shown.append(characters.slice(end, span.start).join(""));
    const mark = addElement(shown, "mark", "", characters.slice(span.start, span.end).join(""));
    if (span.label) addElement(mark, "span", "mark-label", span.label);
    if (span.score !== undefined) mark.title = `${span.label || "answer"}: ${formatPercent(span.score)}`;
    end = span.end;
  }
  shown.append(characters.slice(end).join(""));
  if (!spans.length) addElement(place, "p", "muted", "Nothing was found in this text.");
}

function showAnswerSpan(place, answers, context) {
  const best = answers[0];
  addElement(place, "p", best.answer ? "best-answer" : "muted", best.answer || "The context has no answer.");
  showBars(place, answers.map((answer) => [answer.answer || "no answer", answer.score]));
  if (best.answer) showSpans(place, context, [best]);
}

// Cosine similarities of all pairs of texts.
function showSimilarities(place, texts, vectors) {
  const lengths = vectors.map((vector) => Math.hypot(...vector));
  const cosine = (one, other) => vectors[one].reduce((sum, value, index) => sum + value * vectors[other][index], 0) / (lengths[one] * lengths[other] || 1);
  addElement(place, "p", "muted", `${vectors[0].length} dimensions. Cosine similarity of each pair:`);
  const table = addElement(addElement(place, "div", "table-scroll"), "table", "similarities");
  const head = addElement(addElement(table, "thead"), "tr");
  addElement(head, "th", "", "Text");
  texts.forEach((text, index) => addElement(head, "th", "number", `${index + 1}`));
  const body = addElement(table, "tbody");
  texts.forEach((text, index) => {
    const row = addElement(body, "tr");
    const name = addElement(row, "th", "name", `${index + 1} ${text}`);
    name.scope = "row";
    name.title = text;
    texts.forEach((_, other) => {
      const value = cosine(index, other);
      const cell = addElement(row, "td", "number", value.toFixed(3));
      cell.dataset.shade = Math.max(0, Math.min(4, Math.floor(value * 5)));
    });
  });
}
