// Uploads of files: by one request, or by parts (the uploads API) where they are large.
"use strict";

(() => {
  const PART_BYTES = 64 * 2 ** 20;
  const MAX_ATTEMPTS = 4;
  // Statuses after which the same request may succeed.
  const RETRIED = [0, 429, 500, 502, 503, 504];

  // XMLHttpRequest, since fetch() does not report the progress of a body.
  function post(path, form, onProgress) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", `${consoleRoot}/api${path}`);
      request.setRequestHeader("x-csrf-token", csrfToken);
      request.responseType = "json";
      request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
      request.addEventListener("load", () => {
        if (request.status === 401) leave();
        if (request.status < 300 && request.response) return resolve(request.response);
        reject(fail(request.response?.error?.message || `The server answered with status ${request.status}.`, request));
      });
      request.addEventListener("error", () => reject(fail("The server could not be reached.", request)));
      request.send(form);
    });
  }

  function fail(message, request) {
    const error = new Error(message);
    error.status = request.status;
    error.retryAfter = Number(request.getResponseHeader("retry-after")) || 1;
    return error;
  }

  async function postWithRetries(path, form, onProgress) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await post(path, form, onProgress);
      } catch (error) {
        if (attempt === MAX_ATTEMPTS || !RETRIED.includes(error.status)) throw error;
        await new Promise((resolve) => setTimeout(resolve, Math.min(30, error.retryAfter * attempt) * 1000));
      }
    }
  }

  function sendWhole(file, purpose, onProgress) {
    const form = new FormData();
    // The purpose first: it decides whether the file is checked as it arrives.
    form.append("purpose", purpose);
    form.append("file", file, file.name);
    return post("/v1/files", form, onProgress);
  }

  async function sendParts(file, purpose, onProgress) {
    const upload = await callApi("POST", "/v1/uploads", { filename: file.name, purpose, bytes: file.size, mime_type: file.type || "application/jsonl" });
    const parts = [];
    for (let start = 0; start < file.size; start += PART_BYTES) {
      const form = new FormData();
      form.append("data", file.slice(start, start + PART_BYTES), "part");
      const part = await postWithRetries(`/v1/uploads/${upload.id}/parts`, form, (loaded) => onProgress(start + loaded));
      parts.push(part.id);
    }
    return (await callApi("POST", `/v1/uploads/${upload.id}/complete`, { part_ids: parts })).file;
  }

  async function send(zone, file) {
    const purpose = zone.querySelector("[data-upload-purpose]").value;
    const line = document.createElement("li");
    const name = document.createElement("span");
    name.className = "upload-name";
    name.textContent = file.name;
    const bar = document.createElement("progress");
    bar.max = file.size || 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Upload of ${file.name}`);
    const words = document.createElement("span");
    words.className = "upload-words";
    line.append(name, bar, words);
    zone.querySelector(".uploads").append(line);
    const onProgress = (sent) => {
      bar.value = Math.min(sent, bar.max);
      words.textContent = sent >= file.size ? "Checking…" : `${Math.floor((100 * sent) / file.size)} %`;
    };
    onProgress(0);
    try {
      const created = await (file.size > PART_BYTES ? sendParts : sendWhole)(file, purpose, onProgress);
      finish(zone, line, words, created);
    } catch (error) {
      line.dataset.failed = "";
      words.textContent = error.message;
    }
    bar.remove();
  }

  function finish(zone, line, words, created) {
    if (zone.dataset.next) {
      location.assign(zone.dataset.next.replace("FILE_ID", created.id));
      return;
    }
    const link = document.createElement("a");
    link.href = zone.dataset.fileUrl.replace("FILE_ID", created.id);
    const isInvalid = created.status === "error";
    link.textContent = isInvalid ? "Show what is wrong" : "Open";
    words.textContent = isInvalid ? `Cannot be used: ${created.status_details} ` : created.status === "processed" ? "Ready. " : "Uploaded. ";
    words.append(link);
    if (isInvalid) line.dataset.failed = "";
    zone.dispatchEvent(new CustomEvent("uploaded", { bubbles: true, detail: created }));
  }

  // One after another: they share the same connection.
  async function sendAll(zone, files) {
    for (const file of files) await send(zone, file);
  }

  async function sendExample(zone, button) {
    button.disabled = true;
    const response = await fetch(button.dataset.uploadExample);
    leaveIfEnded(response);
    if (response.ok) await send(zone, new File([await response.blob()], button.dataset.name));
    else notify("The example could not be read.");
    button.disabled = false;
  }

  for (const zone of document.querySelectorAll("[data-upload]")) {
    const drop = zone.querySelector(".drop-zone");
    const input = zone.querySelector('input[type="file"]');
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = "";
      sendAll(zone, files);
    });
    zone.querySelector("[data-upload-example]")?.addEventListener("click", (event) => sendExample(zone, event.currentTarget));
    for (const kind of ["dragenter", "dragover"]) {
      drop.addEventListener(kind, (event) => { event.preventDefault(); drop.dataset.over = ""; });
    }
    drop.addEventListener("dragleave", () => delete drop.dataset.over);
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      delete drop.dataset.over;
      const files = [...event.dataTransfer.files];
      sendAll(zone, input.multiple ? files : files.slice(0, 1));
    });
  }
})();
