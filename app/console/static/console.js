// Behaviour that every page shares. Pages work without it where a form suffices.
"use strict";

const csrfToken = document.querySelector('meta[name="csrf-token"]').content;
const consoleRoot = document.querySelector('meta[name="console-root"]').content;

// Call the API as the session's user. Throws an Error with the API's message and `param`.
async function callApi(method, path, body) {
  const response = await fetch(`${consoleRoot}/api${path}`, {
    method,
    headers: { "x-csrf-token": csrfToken, ...(body instanceof FormData || body === undefined ? {} : { "content-type": "application/json" }) },
    body: body === undefined || body instanceof FormData ? body : JSON.stringify(body),
  });
  leaveIfEnded(response);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const error = new Error(answer.error?.message || `The server answered with status ${response.status}.`);
    error.param = answer.error?.param;
    throw error;
  }
  return answer;
}

// The session has ended: lead to the log-in page, and back to this one.
function leaveIfEnded(response) {
  if (response.status === 401) leave();
}

function leave() {
  const here = location.pathname.slice(new URL(consoleRoot, location.origin).pathname.length) + location.search;
  location.assign(`${consoleRoot}/login?next=${encodeURIComponent(here)}`);
}

// Show a sentence in the corner for some seconds; screen readers hear it.
function notify(text) {
  const notice = document.createElement("div");
  notice.className = "notice";
  notice.textContent = text;
  document.getElementById("notices").append(notice);
  setTimeout(() => notice.remove(), 6000);
}

document.addEventListener("click", async (event) => {
  const target = event.target.closest("[data-copy], [data-toggle], [data-theme-switch], [data-open-dialog], [data-close-dialog]");
  if (!target) return;
  if (target.dataset.copy !== undefined) {
    await navigator.clipboard.writeText(target.dataset.copy);
    notify("Copied.");
  } else if (target.dataset.toggle) {
    const open = document.getElementById(target.dataset.toggle).classList.toggle("open");
    target.setAttribute("aria-expanded", String(open));
  } else if (target.dataset.openDialog) {
    document.getElementById(target.dataset.openDialog).showModal();
  } else if (target.dataset.closeDialog !== undefined) {
    target.closest("dialog").close();
  } else {
    switchTheme();
  }
});

function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme === "dark" || (root.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = isDark ? "light" : "dark";
  document.cookie = `luthier_theme=${root.dataset.theme}; Path=${consoleRoot}; Max-Age=31536000; SameSite=Strict`;
  document.dispatchEvent(new CustomEvent("themechange"));
}

// A button that stops the live updates of a page, whose connection an element holds, and goes on.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-live-switch]");
  if (!button) return;
  const isPaused = button.getAttribute("aria-pressed") === "false";
  const connection = document.getElementById(button.dataset.liveSwitch);
  // A copy has no connection yet; a new one sends the present state of the page first.
  const copy = connection.cloneNode();
  htmx.trigger(connection, "htmx:abort");
  connection.replaceWith(copy);
  if (!isPaused) htmx.process(copy);
  button.setAttribute("aria-pressed", String(isPaused));
  button.textContent = isPaused ? "Updates are paused" : "Pause updates";
});

// Requests of htmx that change something carry the token of the session's pages.
document.addEventListener("htmx:config:request", (event) => {
  event.detail.ctx.request.headers["x-csrf-token"] = csrfToken;
});
document.addEventListener("htmx:error", () => notify("The server could not be reached. Check the connection, and try again."));
// The log-in page, or this page of the project that another tab has switched to.
document.addEventListener("session-ended", () => location.reload());
document.addEventListener("trouble", (event) => notify(event.detail.data));

// Keep relative times right while a page stays open.
const units = [["d", 86400], ["h", 3600], ["min", 60]];
function refreshTimes() {
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const seconds = (Date.now() - Date.parse(element.dateTime)) / 1000;
    const distance = Math.abs(seconds);
    const unit = units.find(([, size]) => distance >= size);
    const text = unit ? `${Math.floor(distance / unit[1])} ${unit[0]}` : distance >= 5 ? `${Math.floor(distance)} s` : "";
    element.textContent = !text ? "just now" : seconds >= 0 ? `${text} ago` : `in ${text}`;
  }
}
setInterval(refreshTimes, 10000);

// A table that scrolls sideways can be reached and scrolled by keyboard; one that fits is no stop.
function markScrollable() {
  for (const element of document.querySelectorAll(".table-scroll, pre")) {
    if (element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  }
}
for (const name of ["resize", "load"]) addEventListener(name, markScrollable);
document.addEventListener("htmx:after:swap", markScrollable);
