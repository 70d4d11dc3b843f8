// The list of files: searched while one types, with the search in the URL; new files appear in it.
"use strict";

(() => {
  const filter = document.querySelector("[data-files-filter]");
  let timer;

  function refresh() {
    htmx.ajax("GET", location.href, { target: "#files-list", select: "#files-list", swap: "outerHTML" });
  }

  function search() {
    const given = [...new FormData(filter)].filter(([, value]) => value);
    const query = new URLSearchParams(given).toString();
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
    refresh();
  }

  filter.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 250);
  });
  filter.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  document.addEventListener("uploaded", refresh);
})();
