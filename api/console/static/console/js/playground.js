// The playground: streams one prompt to two models through the public API, with figures of each answer.

import { poll } from "./poll.js";
import { asCurl, asPython } from "./requests.js";
import { announce, csrfToken } from "./page.js";
import { events } from "./sse.js";

const form = document.getElementById("playground");
const texts = document.getElementById("playground-texts")?.dataset;
const data = JSON.parse(document.getElementById("playground-data")?.textContent ?? "null");
const field = (name) => document.getElementById(name);
const PARAMETERS = ["temperature", "top_p", "max_tokens", "seed"];

// ---- the key: in memory only, renewed when it is about to end ------------------------------------

let key = { secret: "", endsAt: 0 };
const RENEW_BEFORE_MS = 60_000;

let renewal = null;

/** The secret of the key; another one than the refused. Panes share a renewal, because it ends the previous secret. */
async function currentKey(refused = "") {
  if (key.secret !== refused && Date.now() < key.endsAt - RENEW_BEFORE_MS) return key.secret;
  renewal ??= renewedKey().finally(() => (renewal = null));
  return renewal;
}

async function renewedKey() {
  const response = await fetch(form.dataset.keyUrl, { method: "POST", headers: { "x-csrftoken": csrfToken() } });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiFailure(answer.error?.code ?? String(response.status), answer.message ?? answer.error?.message ?? "");
  key = { secret: answer.secret, endsAt: Date.now() + answer.valid_s * 1000 };
  return key.secret;
}

class ApiFailure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const KEY_CODES = new Set(["invalid_api_key", "key_expired", "key_revoked"]);

/** Send the body; a key that another window has replaced is renewed once. */
async function call(body, signal) {
  let refused = "";
  for (const isRetry of [false, true]) {
    const secret = await currentKey(refused);
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${secret}` },
      body: JSON.stringify(body),
      signal,
    });
    if (response.ok) return response;
    const { error } = await response.json().catch(() => ({ error: { code: String(response.status), message: "" } }));
    if (isRetry || !KEY_CODES.has(error.code)) throw new ApiFailure(error.code, error.message);
    refused = secret;
  }
}

// ---- the request ---------------------------------------------------------------------------------

function numeric(name) {
  const value = field(name).value.trim();
  return value === "" ? undefined : Number(value);
}

function requestBody(model) {
  const system = field("system").value.trim();
  const messages = [{ role: "user", content: field("prompt").value }];
  if (system) messages.unshift({ role: "system", content: system });
  const body = { model, messages };
  for (const name of PARAMETERS) {
    if (numeric(name) !== undefined) body[name] = numeric(name);
  }
  return body;
}

// ---- panes ---------------------------------------------------------------------------------------

class Pane {
  constructor(element) {
    this.element = element;
    this.select = element.querySelector("[data-model-select]");
    this.answer = element.querySelector("[data-answer]");
    this.select.addEventListener("change", refresh);
    element.querySelectorAll("[data-copy-as]").forEach((button) => {
      button.addEventListener("click", () => this.copy(button));
    });
  }

  get model() {
    return this.select.value;
  }

  part(name) {
    return this.element.querySelector(`[data-${name}]`);
  }

  async copy(button) {
    const write = button.dataset.copyAs === "curl" ? asCurl : asPython;
    await navigator.clipboard.writeText(write(data.baseUrl, requestBody(this.model)));
    const label = button.textContent;
    button.textContent = texts.copied;
    announce(texts.copied);
    setTimeout(() => (button.textContent = label), 1500);
  }

  showState() {
    const state = data.models[this.model];
    const badge = this.part("badge");
    badge.hidden = !state;
    badge.textContent = state?.label ?? "";
    badge.className = `badge ${state?.tone ?? ""}`;
    this.part("reason").textContent = state && !state.ready ? state.reason : "";
    this.element.querySelectorAll("[data-copy-as]").forEach((button) => (button.disabled = !this.model));
  }

  clear() {
    this.answer.replaceChildren();
    this.part("failure").hidden = true;
    this.part("figures").hidden = true;
    for (const name of ["ttft", "speed", "tokens", "cost", "finish"]) this.part(name).textContent = "—";
  }

  async run(signal) {
    this.clear();
    this.answer.setAttribute("aria-busy", "true");
    const startedAt = performance.now();
    const figures = { startedAt, firstAt: 0, lastAt: 0, pieces: 0, usage: null, finish: "" };
    try {
      const body = { ...requestBody(this.model), stream: true, stream_options: { include_usage: true } };
      for await (const text of events(await call(body, signal))) {
        if (text === "[DONE]") break;
        this.take(JSON.parse(text), figures);
      }
    } catch (error) {
      if (error.name === "AbortError") figures.finish = texts.stopped;
      else this.fail(error);
    }
    this.answer.removeAttribute("aria-busy");
    this.showFigures(figures);
  }

  take(chunk, figures) {
    if (chunk.error) throw new ApiFailure(chunk.error.code, chunk.error.message);
    if (chunk.usage) figures.usage = chunk.usage;
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const { content, reasoning_content: reasoning, reasoning: plainReasoning } = choice.delta ?? {};
    if (content || reasoning || plainReasoning) {
      figures.firstAt ||= performance.now();
      figures.lastAt = performance.now();
      figures.pieces += 1;
      this.append(content ?? "", reasoning ?? plainReasoning ?? "");
      this.showFigures(figures);
    }
    if (choice.finish_reason) figures.finish = choice.finish_reason;
  }

  append(content, reasoning) {
    if (reasoning) {
      if (!this.answer.querySelector(".reasoning")) {
        const box = Object.assign(document.createElement("details"), { className: "reasoning", open: true });
        box.append(Object.assign(document.createElement("summary"), { textContent: texts.thinking }), document.createElement("p"));
        this.answer.prepend(box);
      }
      this.answer.querySelector(".reasoning p").append(reasoning);
    }
    if (content) this.answer.append(content);
  }

  showFigures({ startedAt, firstAt, lastAt, pieces, usage, finish }) {
    this.part("figures").hidden = !firstAt && !finish;
    if (firstAt) this.part("ttft").textContent = seconds((firstAt - startedAt) / 1000);
    const tokens = usage?.completion_tokens ?? pieces;
    if (lastAt > firstAt && tokens > 1) {
      this.part("speed").textContent = `${(((tokens - 1) * 1000) / (lastAt - firstAt)).toFixed(1)} ${texts.rate}`;
    }
    if (usage) {
      const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
      const note = cached ? ` (${cached} ${texts.cached})` : "";
      this.part("tokens").textContent = `${usage.prompt_tokens}${note} + ${usage.completion_tokens}`;
      this.part("cost").textContent = money(cost(data.models[this.model]?.prices, usage, cached));
    }
    if (finish) this.part("finish").textContent = finish;
  }

  fail(error) {
    const isKnown = error instanceof ApiFailure;
    this.part("failure").hidden = false;
    this.part("failure-code").textContent = isKnown ? error.code : "";
    this.part("failure-message").textContent = isKnown ? error.message : texts.network;
    this.part("failure-remedy").textContent = (isKnown && data.remedies[error.code]) || "";
  }
}

function seconds(value) {
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(2)} s`;
}

/** Return micro-dollars, as the ledger computes them from the prices at admission. */
function cost(prices, usage, cached) {
  if (!prices) return 0;
  const fresh = usage.prompt_tokens - Math.min(cached, usage.prompt_tokens);
  return Math.ceil((fresh * prices.prompt + cached * prices.cached + usage.completion_tokens * prices.completion) / 1e6);
}

function money(microusd) {
  return `$${(microusd / 1e6).toFixed(microusd && microusd < 1e4 ? 6 : 2)}`;
}

// ---- the page ------------------------------------------------------------------------------------

const panes = form ? [...form.querySelectorAll("[data-pane]")].map((element) => new Pane(element)) : [];
let running = null;

/** Return why sending is impossible now, "" if it is possible. */
function obstacle() {
  if (form.dataset.denied) return form.dataset.denied;
  const panesWithModel = panes.filter((pane) => pane.model);
  if (!panesWithModel.length) return texts.noModel;
  const waiting = panesWithModel.find((pane) => !data.models[pane.model]?.ready);
  if (waiting) return `${waiting.model} ${texts.notReady} ${data.models[waiting.model]?.reason ?? ""}`;
  const silent = panesWithModel.find((pane) => !data.models[pane.model]?.chats);
  if (silent) return `${silent.model} ${texts.noChat}`;
  return field("prompt").value.trim() ? "" : texts.noPrompt;
}

function refresh() {
  panes.forEach((pane) => pane.showState());
  const reason = obstacle();
  field("send").disabled = Boolean(reason) || running !== null;
  field("send-reason").textContent = running ? "" : reason;
  field("stop").hidden = running === null;
}

/** Keep models, prompts and parameters in the address, so that the page can be shared; long prompts stay out. */
function rememberState() {
  const query = new URLSearchParams();
  panes.forEach((pane) => pane.model && query.set(pane.element.dataset.pane, pane.model));
  for (const [name, id] of [["p", "prompt"], ["s", "system"]]) {
    const value = field(id).value;
    if (value && value.length < 1500) query.set(name, value);
  }
  for (const name of PARAMETERS) {
    if (field(name).value !== field(name).dataset.default) query.set(name, field(name).value);
  }
  history.replaceState(null, "", `?${query}`);
}

async function send() {
  if (obstacle() || running) return;
  running = new AbortController();
  refresh();
  rememberState();
  await Promise.all(panes.filter((pane) => pane.model).map((pane) => pane.run(running.signal)));
  running = null;
  announce(texts.done);
  refresh();
}

if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  form.addEventListener("input", refresh);
  field("prompt").addEventListener("input", () => field("prompt-offer")?.remove());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
  });
  field("stop").addEventListener("click", () => running?.abort());
  form.addEventListener("change", rememberState);
  poll(form.dataset.modelStates, 2000, ({ models }) => {
    models.forEach((model) => {
      data.models[model.name] = { ...data.models[model.name], ...model };
    });
    refresh();
  });
  refresh();
}
