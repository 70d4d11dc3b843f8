// Pause, resume and cancel one or several jobs, with one confirmation; the selection in the list.
"use strict";

const ACTIONS = {
  pause: { verb: "Pause", done: "paused", from: ["queued", "running"], text: "Running jobs stop at a checkpoint, and continue from it when they are resumed." },
  resume: { verb: "Resume", done: "resumed", from: ["paused"], text: "The jobs are queued, and continue from their last checkpoint." },
  cancel: { verb: "Cancel", done: "cancelled", from: ["validating_files", "queued", "running", "paused"], text: "A cancelled job cannot be resumed. Its checkpoints so far are kept." },
};
const MAX_CONCURRENT_CALLS = 4;
const MAX_COMPARED = 6;
const plural = (count) => (count === 1 ? "1 job" : `${count} jobs`);

// Ids of the selected jobs: live updates replace the rows.
const selected = new Set();
const checkboxes = () => [...document.querySelectorAll("input[data-select]")];

function describe(box) {
  return { id: box.dataset.select, name: box.dataset.name, status: box.dataset.status };
}

function chosenJobs(button) {
  // On a job's own page the button has the job.
  if (button.dataset.select) return [describe(button)];
  return checkboxes().filter((box) => selected.has(box.dataset.select)).map(describe);
}

function refreshSelection() {
  const boxes = checkboxes();
  for (const box of boxes) box.checked = selected.has(box.dataset.select);
  const jobs = boxes.filter((box) => box.checked).map(describe);
  const all = document.querySelector("[data-select-all]");
  if (all) {
    all.checked = boxes.length > 0 && jobs.length === boxes.length;
    all.indeterminate = jobs.length > 0 && !all.checked;
  }
  const count = document.getElementById("selected-count");
  const text = jobs.length ? `${plural(jobs.length)} selected` : "Nothing selected";
  if (count && count.textContent !== text) count.textContent = text;
  for (const button of document.querySelectorAll(".list-tools [data-job-action]")) {
    button.disabled = !jobs.some((job) => ACTIONS[button.dataset.jobAction].from.includes(job.status));
  }
  const compare = document.querySelector("[data-compare]");
  if (compare) compare.disabled = jobs.length < 2 || jobs.length > MAX_COMPARED;
}

function listJob(list, text, isFailed) {
  const item = document.createElement("li");
  item.textContent = text;
  if (isFailed) item.dataset.failed = "";
  list.append(item);
}

function openDialog(action, jobs) {
  const { verb, from, text } = ACTIONS[action];
  const able = jobs.filter((job) => from.includes(job.status));
  const dialog = document.getElementById("job-action");
  const skipped = jobs.length - able.length;
  dialog.querySelector("h2").textContent = `${verb} ${plural(able.length)}?`;
  dialog.querySelector("[data-text]").textContent = skipped ? `${text} ${plural(skipped)} of the selection cannot be ${ACTIONS[action].done}, and stay as they are.` : text;
  const list = dialog.querySelector("[data-jobs]");
  list.replaceChildren();
  for (const job of able) listJob(list, job.name);
  const confirm = dialog.querySelector("[data-confirm]");
  confirm.textContent = `${verb} ${plural(able.length)}`;
  confirm.hidden = false;
  confirm.disabled = able.length === 0;
  confirm.className = action === "cancel" ? "danger" : "primary";
  confirm.onclick = () => run(action, able, dialog);
  dialog.showModal();
}

async function run(action, jobs, dialog) {
  const confirm = dialog.querySelector("[data-confirm]");
  confirm.disabled = true;
  const waiting = [...jobs];
  const failures = [];
  const work = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      try {
        await callApi("POST", `/v1/fine_tuning/jobs/${encodeURIComponent(job.id)}/${action}`);
      } catch (error) {
        failures.push(`${job.name}: ${error.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: MAX_CONCURRENT_CALLS }, work));
  const done = jobs.length - failures.length;
  if (done) notify(`${plural(done)} ${action === "pause" ? "will pause" : ACTIONS[action].done}.`);
  if (!failures.length) return dialog.close();
  dialog.querySelector("h2").textContent = `${plural(failures.length)} could not be ${ACTIONS[action].done}`;
  dialog.querySelector("[data-text]").textContent = "";
  const list = dialog.querySelector("[data-jobs]");
  list.replaceChildren();
  for (const text of failures) listJob(list, text, true);
  confirm.hidden = true;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-job-action], [data-compare]");
  if (!button) return;
  const jobs = chosenJobs(button);
  if (button.dataset.jobAction) return openDialog(button.dataset.jobAction, jobs);
  location.assign(`${button.dataset.compare}?${new URLSearchParams(jobs.map((job) => ["job", job.id]))}`);
});

document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.dataset.select) {
    if (box.checked) selected.add(box.dataset.select);
    else selected.delete(box.dataset.select);
    refreshSelection();
  } else if (box.dataset.selectAll !== undefined) {
    selected.clear();
    if (box.checked) for (const each of checkboxes()) selected.add(each.dataset.select);
    refreshSelection();
  } else if (box.closest("[data-filters]") && (box.type === "checkbox" || box.tagName === "SELECT")) {
    box.form.requestSubmit();
  }
});

// Fields without a value say nothing in a URL that is shared.
document.querySelector("[data-filters]")?.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});

const list = document.getElementById("jobs-list");
if (list) {
  new MutationObserver(refreshSelection).observe(list, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-status"] });
  refreshSelection();
}
