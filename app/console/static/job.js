// Curves of a job's page follow its live updates.
"use strict";

const jobCharts = chartsOf(document.querySelector("[data-charts]"));

// The event bubbles, so that a new connection after a pause is heard too.
document.addEventListener("curves", (event) => {
  if (!jobCharts.merge(JSON.parse(event.detail.data))) jobCharts.read(event.target.dataset.curves);
});
