// The form of a new job: search among its models, and one request however often one clicks.
"use strict";

for (const input of document.querySelectorAll("[data-filter]")) {
  const list = document.getElementById(input.dataset.filter);
  const none = document.getElementById(`${input.dataset.filter}-none`);
  input.addEventListener("input", () => {
    const text = input.value.trim().toLowerCase();
    let shown = 0;
    for (const item of list.querySelectorAll("[data-text]")) {
      item.hidden = !item.dataset.text.toLowerCase().includes(text);
      shown += item.hidden ? 0 : 1;
    }
    none.hidden = shown > 0;
  });
  // Enter searches, and does not leave the step.
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
}

// The URL of a step has what is chosen in it, so that the back button leads to it again.
for (const form of document.querySelectorAll("form[data-step]")) {
  form.addEventListener("change", () => {
    const chosen = [...new FormData(form)].filter(([name, value]) => value && name !== "step");
    history.replaceState(null, "", `?${new URLSearchParams([["step", form.dataset.step], ...chosen])}`);
  });
}

// The estimate follows the numbers, and its details stay open.
for (const estimate of document.querySelectorAll("[data-recount]")) {
  estimate.closest("form").addEventListener("change", () => htmx.trigger(estimate, "recount"));
  let isOpen = false;
  estimate.addEventListener("toggle", (event) => { isOpen = event.target.open; }, true);
  new MutationObserver(() => {
    const details = estimate.querySelector("details");
    if (details && isOpen) details.open = true;
  }).observe(estimate, { childList: true });
}

for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) button.disabled = true;
  });
  // Back from the job's page: the browser may show the page as it was left.
  addEventListener("pageshow", (event) => {
    if (event.persisted) for (const button of form.querySelectorAll("button")) button.disabled = false;
  });
}
