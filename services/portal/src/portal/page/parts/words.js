/** States as words with a colour: the word is what says it, the colour only helps. */

import { words } from "../core/format.js";
import { h } from "../core/render.js";

/** @typedef {"ok" | "warn" | "bad" | "quiet"} Tone */

/** @type {Record<string, Tone>} */
const TONES = {
  ok: "ok", healthy: "ok", ready: "ok", finished: "ok", succeeded: "ok", granted: "ok", settled: "ok", step_finished: "ok",
  ejected: "warn", half_open: "warn", returning: "warn", left: "warn", silent: "warn", joining: "warn", draining: "warn", parked: "warn",
  awaiting_approval: "warn", pending: "warn", attempt_failed: "warn", degraded: "warn", warn: "warn", cancelled: "warn",
  open: "bad", unavailable: "bad", lost: "bad", gone: "warn", failed: "bad", dead: "bad", bad: "bad", denied: "bad", expired: "bad",
  step_failed: "bad", full: "warn", rate_limited: "warn",
};

/** @param {string | undefined} state @returns {Tone} */
export function tone(state) {
  return (state !== undefined && Object.hasOwn(TONES, state) ? TONES[state] : undefined) ?? "quiet";
}

/** @param {string | undefined} state @param {Tone} [as] @param {string} [why] Shown on hover. */
export function tag(state, as = tone(state), why = undefined) {
  return h("span", { class: `tag ${as}`, title: why || null }, words(state || "unknown"));
}

/** @param {string | undefined} zone */
export function zoneTag(zone) {
  if (zone !== "local" && zone !== "cloud") return null;
  return h("span", { class: `tag ${zone}` }, zone);
}

/** @param {string[] | undefined} zones */
export function zoneTags(zones) {
  return h("span", { class: "labels" }, (zones ?? []).map(zoneTag));
}

/** @param {string | undefined} dataClass */
export function classTag(dataClass) {
  if (!dataClass) return null;
  return h("span", { class: `tag ${dataClass === "restricted" ? "restricted" : "quiet"}` }, dataClass);
}

/** Where a task went: zone, pool and model. @param {{ zone?: string, pool?: string, model?: string }} where */
export function whereText(where) {
  if (!where.pool) return h("span", { class: "dim none" }, "–");
  return h(
    "span",
    { class: "where", title: [where.pool, where.model].filter(Boolean).join(" / ") },
    zoneTag(where.zone),
    " ",
    h("bdi", null, where.pool),
    where.model ? h("bdi", { class: "dim" }, ` ${where.model}`) : null,
  );
}

/** @param {Record<string, string> | undefined} labels */
export function labelsText(labels) {
  const pairs = Object.entries(labels ?? {});
  if (!pairs.length) return null;
  return h(
    "span",
    { class: "labels" },
    pairs.slice(0, 8).map(([name, value]) => h("span", { class: "label" }, h("bdi", null, `${name}=${value}`))),
    pairs.length > 8 ? ` and ${pairs.length - 8} more` : null,
  );
}
