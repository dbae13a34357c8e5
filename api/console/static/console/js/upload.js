// The upload of a dataset: streamed with progress, then checked by the server; faults are shown in place.

import { fill } from "./format.js";
import { csrfToken } from "./page.js";

/** Let a file input upload to an address. `onStored(file)` gets {id, filename, address, html}. */
export function watchUpload(address, onStored) {
  const input = document.getElementById("upload");
  const progress = document.getElementById("upload-progress");
  const state = document.getElementById("upload-state");
  const faults = document.getElementById("faults");

  input?.addEventListener("change", () => {
    const file = input.files[0];
    if (!file) return;
    const request = new XMLHttpRequest();
    request.open("POST", `${address}?${new URLSearchParams({ name: file.name, purpose: "fine-tune" })}`);
    request.setRequestHeader("X-CSRFToken", csrfToken());
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Accept", "text/html, application/json");
    progress.hidden = false;
    progress.value = 0;
    faults.replaceChildren();
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progress.value = Math.floor((100 * event.loaded) / event.total);
    });
    request.upload.addEventListener("load", () => (state.textContent = state.dataset.checking));
    request.addEventListener("error", () => failed(state.dataset.failed));
    request.addEventListener("load", () => finished(request, file));
    request.send(file);
  });

  function failed(text, html = "") {
    progress.hidden = true;
    state.textContent = text;
    faults.innerHTML = html;
    input.value = "";
  }

  function finished(request, file) {
    let data = {};
    try {
      data = JSON.parse(request.responseText);
    } catch {
      failed(state.dataset.failed);
      return;
    }
    if (request.status !== 200) {
      failed(typeof data.error === "string" ? data.error : state.dataset.failed, data.html ?? "");
      return;
    }
    progress.hidden = true;
    state.textContent = fill(state.dataset.stored, { name: file.name });
    onStored(data);
  }
}
