/**
 * What a view shows beside the stream: asked for when it is first drawn, and again when it has become old.
 *
 * @typedef {{ data: any, error: import("./server.js").ServerError | null, loading: boolean, atMs: number, usedMs: number }} Resource
 */

import { drawLater, drawNow } from "./frames.js";
import { request, ServerError } from "./server.js";

/** Answers that are kept; the one that was used longest ago goes first. */
const RESOURCES_MAX = 24;

/** @type {Map<string, Resource>} */
const resources = new Map();

/**
 * The newest answer to GET `path`; `data` is null until there is one, and stays while it is asked for again.
 *
 * @param {string} path
 * @param {number} [maxAgeMs] After which it is asked for again while a view draws it; not again by default.
 * @returns {Resource}
 */
export function resource(path, maxAgeMs = Infinity) {
  const now = performance.now();
  let found = resources.get(path);
  if (!found) {
    evict();
    found = { data: null, error: null, loading: false, atMs: -Infinity, usedMs: now };
    resources.set(path, found);
  }
  found.usedMs = now;
  const isOld = now - found.atMs > (found.error ? Math.min(maxAgeMs, 5000) : maxAgeMs);
  if (!found.loading && (found.atMs === -Infinity || isOld)) void load(path, found);
  return found;
}

/** @param {string} prefix Of paths: their answers are asked for again when they are drawn next. */
export function forget(prefix) {
  for (const [path, found] of resources) if (path.startsWith(prefix)) found.atMs = -Infinity;
  drawNow();
}

/** Everything, as after signing in as somebody else. */
export function forgetAll() {
  resources.clear();
  drawNow();
}

/** @param {string} path @param {Resource} found */
async function load(path, found) {
  const isFirst = found.data === null;
  found.loading = true;
  try {
    found.data = await request(path);
    found.error = null;
  } catch (error) {
    found.error = error instanceof ServerError ? error : new ServerError(0, "internal", String(error));
    if (found.error.status === 401 || found.error.status === 403 || found.error.status === 404) found.data = null;
  } finally {
    found.loading = false;
    found.atMs = performance.now();
    if (isFirst) drawNow();
    else drawLater();
  }
}

function evict() {
  if (resources.size < RESOURCES_MAX) return;
  let oldest = "";
  let usedMs = Infinity;
  for (const [path, found] of resources) {
    if (found.usedMs < usedMs && !found.loading) [oldest, usedMs] = [path, found.usedMs];
  }
  resources.delete(oldest);
}
