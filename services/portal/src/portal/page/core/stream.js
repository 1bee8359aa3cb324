/**
 * The stream of snapshots and events, kept open: `GET /stream`, server-sent events.
 *
 * Read by fetch, not by EventSource: the heartbeat is a comment, which EventSource keeps to itself, and a server that
 * is frozen would look like a fleet in which nothing happens. A refusal's status is seen too.
 */

import { drawNow, drawSoon } from "./frames.js";
import { become as becomeSession, refusal, request } from "./server.js";
import { app, takeEvents, takeSnapshot } from "./state.js";

/** Two heartbeats and a half. */
const SILENCE_MS_MAX = 25_000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
/** No event is that long; what is longer is no event of ours. */
const BUFFER_CHARS_MAX = 16 * 1024 * 1024;

let lastId = "";
let failures = 0;
let isFirstBatch = true;
let isReopened = false;
let isSessionOld = true;
/** @type {AbortController | null} */
let open = null;

/** Follow the stream until the page is closed; a lost connection is made again by itself. */
export async function follow() {
  for (;;) {
    const heardBefore = app.heardAt;
    await once();
    if (app.link === "signed_out") return;
    if (isReopened) {
      isReopened = false;
      continue;
    }
    failures = app.heardAt > heardBefore ? 0 : failures + 1;
    await pause(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 0);
  }
}

/** Whoever looks now has seen nothing yet. */
export function startAnew() {
  lastId = "";
}

/** Cut the stream; it is made again at once, with the session of now. */
export function reopen() {
  isReopened = true;
  open?.abort();
}

async function once() {
  const cut = new AbortController();
  open = cut;
  const watch = setInterval(() => {
    if (Date.now() - app.heardAt > SILENCE_MS_MAX && app.link === "live") cut.abort();
  }, 1000);
  try {
    if (isSessionOld || !app.session) becomeSession(await request("/session"));
    isSessionOld = false;
    // Whoever is not signed in may still be let look: then the session has a role.
    if (!app.session?.role) return become("signed_out", "");
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (lastId) headers["Last-Event-ID"] = lastId;
    const response = await fetch("/stream", { headers, signal: cut.signal, credentials: "same-origin", redirect: "error" });
    if (!response.ok || !response.body) throw await refusal(response);
    app.heardAt = Date.now();
    isFirstBatch = true;
    await read(response.body.getReader());
    become("lost", "");
  } catch (error) {
    const status = /** @type {{ status?: number }} */ (error).status ?? 0;
    const words = status ? /** @type {Error} */ (error).message : "";
    // What the session was is asked again: the server may have been started anew since.
    isSessionOld = status !== 403;
    // So it is of who is not signed in any more: what the session is now says how they can.
    if (isReopened || status === 401) become("connecting", "");
    else become(status === 403 ? "refused" : "lost", words);
  } finally {
    clearInterval(watch);
  }
}

/** @param {ReadableStreamDefaultReader<Uint8Array>} reader */
async function read(reader) {
  const decoder = new TextDecoder();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    app.heardAt = Date.now();
    buffer += decoder.decode(value, { stream: true });
    if (buffer.length > BUFFER_CHARS_MAX) throw new Error("An event without an end.");
    const blocks = buffer.replaceAll("\r\n", "\n").split("\n\n");
    buffer = blocks.pop() ?? "";
    for (const block of blocks) take(block);
  }
}

/** @param {string} block One event, without the empty line after it. */
function take(block) {
  let event = "";
  let data = "";
  for (const line of block.split("\n")) {
    const [name, value] = field(line);
    if (name === "event") event = value;
    else if (name === "data") data += data ? `\n${value}` : value;
    else if (name === "id") lastId = value;
  }
  if (!data) return;
  if (event === "state") {
    takeSnapshot(JSON.parse(data));
    if (app.link !== "live") become("live", "");
  } else if (event === "events") {
    takeEvents(JSON.parse(data), isFirstBatch);
    isFirstBatch = false;
  }
  drawSoon();
}

/** @param {string} line @returns {[string, string]} */
function field(line) {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
}

/** @param {import("./state.js").Link} link @param {string} words */
function become(link, words) {
  app.link = link;
  app.linkWords = words;
  drawNow();
}

/** @param {number} ms @returns {Promise<void>} */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
