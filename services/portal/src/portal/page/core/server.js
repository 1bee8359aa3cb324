/** Requests to the portal's own server. */

import { drawNow } from "./frames.js";
import { app } from "./state.js";

const TIMEOUT_MS = 20_000;

/** What the server said no with, or that it could not be asked (`kind` is `unreachable` then). */
export class ServerError extends Error {
  /**
   * @param {number} status 0 where there was no answer.
   * @param {string} kind
   * @param {string} message
   * @param {string[]} [faults] Of a document that was sent, one by one.
   */
  constructor(status, kind, message, faults = []) {
    super(message);
    this.status = status;
    this.kind = kind;
    this.faults = faults;
  }
}

/**
 * Ask for JSON.
 *
 * @param {string} path
 * @param {{ method?: string, body?: unknown }} [how] Anything but GET carries the session's CSRF token.
 * @returns {Promise<any>}
 * @throws {ServerError}
 */
export async function request(path, { method = "GET", body } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && app.session?.csrf) headers["X-CSRF-Token"] = app.session.csrf;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new ServerError(0, "unreachable", "The portal does not answer.");
  }
  if (!response.ok) {
    if (path !== "/session" && (response.status === 401 || response.status === 403)) void askWhoIsSignedIn();
    throw await refusal(response);
  }
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new ServerError(response.status, "unreadable", "The portal's answer could not be read.");
  }
}

/** Whoever is refused may be nobody any more: the page says so then, and offers no more than they may do. */
async function askWhoIsSignedIn() {
  if (!app.session?.signed_in) return;
  const before = app.session;
  try {
    const now = await request("/session");
    if (app.session === before) become(now);
  } catch {
    // It is asked again at the next refusal.
  }
}

/** @param {import("../contract.js").Session} session What it is now. */
export function become(session) {
  if (app.session?.signed_in && !session.signed_in) app.sessionEnded = true;
  if (session.signed_in) app.sessionEnded = false;
  app.session = session;
  drawNow();
}

/** @param {Response} response @returns {Promise<ServerError>} */
export async function refusal(response) {
  let said;
  try {
    said = (await response.json()).error;
  } catch {
    said = null;
  }
  const words = typeof said?.message === "string" && said.message ? said.message : `The portal answered ${response.status}.`;
  const faults = Array.isArray(said?.faults) ? said.faults.map(String) : [];
  return new ServerError(response.status, typeof said?.kind === "string" ? said.kind : "", words, faults);
}

/** @param {Record<string, string | undefined>} parameters Empty ones are left out. @returns {string} `?a=b`, or nothing. */
export function query(parameters) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value) search.set(name, value);
  const text = search.toString();
  return text ? `?${text}` : "";
}

/** @param {string[]} parts @returns {string} */
export function path(...parts) {
  return `/${parts.map(encodeURIComponent).join("/")}`;
}
