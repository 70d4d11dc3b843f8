// Rows that were corrected by hand, collected until they become a file. They are kept for this tab
// only, and survive going from page to page.
"use strict";

const rowBasket = {
  key: `luthier-rows:${consoleRoot}`,
  rows: [],
  // The row of the open dialog, whose answer or whole text is edited.
  draft: null,
};
const MAX_COPIED_BYTES = 256 * 2 ** 20;

function loadRows() {
  try {
    rowBasket.rows = JSON.parse(sessionStorage.getItem(rowBasket.key)) || [];
  } catch {
    rowBasket.rows = [];
  }
  showRowCount();
}

function storeRows() {
  try {
    sessionStorage.setItem(rowBasket.key, JSON.stringify(rowBasket.rows));
  } catch {
    notify("The rows are too large to be kept when you leave this page. Make a file of them first.");
  }
  showRowCount();
}

function showRowCount() {
  const count = rowBasket.rows.length;
  document.getElementById("row-basket").hidden = count === 0;
  document.getElementById("row-count").textContent = count === 1 ? "1 row collected." : `${count} rows collected.`;
}

// Open the dialog for a row of any format. Of a chat, only its last answer is edited.
function editRow(row) {
  rowBasket.draft = row;
  const answer = row.messages?.at(-1);
  const isText = answer?.role === "assistant" && typeof answer.content === "string" && !answer.tool_calls;
  document.getElementById("row-answer-field").hidden = !isText;
  document.getElementById("row-json-field").hidden = isText;
  document.getElementById("row-answer").value = isText ? answer.content : "";
  document.getElementById("row-json").value = isText ? "" : JSON.stringify(row, null, 2);
  showRowError("row-json-error", "");
  document.getElementById("edit-row").showModal();
}

function keepRow(event) {
  if (event.submitter?.id !== "keep-row") return;
  try {
    const row = readDraft();
    if (rowBasket.rows.length && shapeOf(row) !== shapeOf(rowBasket.rows[0])) {
      throw new Error("A file has rows of one format. Make a file of the collected rows first, or discard them.");
    }
    rowBasket.rows.push(row);
  } catch (error) {
    event.preventDefault();
    showRowError("row-json-error", error.message);
    return;
  }
  storeRows();
  notify("Row added.");
}

function readDraft() {
  if (!document.getElementById("row-json-field").hidden) {
    const row = JSON.parse(document.getElementById("row-json").value);
    if (row === null || typeof row !== "object" || Array.isArray(row)) throw new Error("Expected a JSON object.");
    return row;
  }
  const content = document.getElementById("row-answer").value;
  if (!content.trim()) throw new Error("Write the right answer.");
  return { ...rowBasket.draft, messages: [...rowBasket.draft.messages.slice(0, -1), { role: "assistant", content }] };
}

// The fields that tell formats of rows apart; a chat may have tools in addition to its messages.
function shapeOf(row) {
  return Object.keys(row).filter((name) => !["tools", "metadata", "id"].includes(name)).sort().join();
}

function showRowError(id, message) {
  const place = document.getElementById(id);
  place.textContent = message;
  place.hidden = !message;
}

async function buildRowsFile() {
  const lines = rowBasket.rows.map((row) => JSON.stringify(row));
  const start = document.getElementById("rows-start").selectedOptions[0];
  if (!start.value) return new Blob([lines.join("\n"), "\n"]);
  if (Number(start.dataset.bytes) > MAX_COPIED_BYTES) throw new Error("This file is too large to be copied by a browser.");
  const response = await fetch(`${consoleRoot}/api/v1/files/${encodeURIComponent(start.value)}/content`);
  leaveIfEnded(response);
  if (!response.ok) throw new Error("The file could not be read. It may be deleted.");
  const copied = await response.blob();
  const hasEnd = (await copied.slice(-1).text()) === "\n";
  return new Blob([copied, hasEnd ? "" : "\n", lines.join("\n"), "\n"]);
}

async function saveRows(save) {
  showRowError("save-rows-error", "");
  const name = document.getElementById("rows-name");
  if (!name.reportValidity()) return;
  try {
    await save(await buildRowsFile(), name.value);
  } catch (error) {
    showRowError("save-rows-error", error.message);
    return;
  }
  document.getElementById("save-rows").close();
}

async function uploadRows(blob, name) {
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", blob, name);
  const file = await callApi("POST", "/v1/files", form);
  if (file.status === "error") throw new Error(file.status_details);
  clearRows();
  location.assign(`${consoleRoot}/files/${encodeURIComponent(file.id)}`);
}

async function downloadRows(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function clearRows() {
  rowBasket.rows = [];
  storeRows();
}

document.querySelector("#edit-row form").addEventListener("submit", keepRow);
document.getElementById("clear-rows").addEventListener("click", clearRows);
document.getElementById("upload-rows").addEventListener("click", () => saveRows(uploadRows));
document.getElementById("download-rows").addEventListener("click", () => saveRows(downloadRows));
// Rows that the server put into the page: worst rows of an evaluation, answers of checkpoints.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-edit-row]");
  if (button) editRow(JSON.parse(button.dataset.editRow));
});
loadRows();
