// Comparison of jobs: at most six can be chosen, and the address is the link to share.
"use strict";

const MAX_COMPARED = 6;
const choices = () => [...document.querySelectorAll('.choices input[name="job"]')];

function limitChoices() {
  const isFull = choices().filter((box) => box.checked).length >= MAX_COMPARED;
  for (const box of choices()) box.disabled = isFull && !box.checked;
}

document.querySelector(".choices")?.addEventListener("change", limitChoices);
document.querySelector("[data-copy-link]")?.addEventListener("click", async () => {
  await navigator.clipboard.writeText(location.href);
  notify("Link copied. It opens for members of this project.");
});
limitChoices();
