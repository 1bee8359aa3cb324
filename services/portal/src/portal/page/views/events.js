/** The event stream: live, paused, searched, and as a `nats sub` for a terminal. */

import { absolute, clock, count, ms, words } from "../core/format.js";
import { drawNow } from "../core/frames.js";
import { link, replace } from "../core/place.js";
import { h } from "../core/render.js";
import { app, EVENTS_MAX } from "../core/state.js";
import { empty } from "../parts/states.js";
import { table } from "../parts/table.js";
import { tag, whereText } from "../parts/words.js";

/** @import { FleetEvent } from "../contract.js" */

const SHOWN_MAX = 100;
const KINDS = ["queued", "dispatched", "attempt_failed", "finished", "failed", "cancelled", "step_started", "step_finished", "step_failed", "awaiting_approval", "approval_decided"];

/** What stood here when it was paused; null while it is live. @type {FleetEvent[] | null} */
let paused = null;
let copied = "";

export const title = "Events";

/** @param {import("../core/place.js").Place} place */
export function view(place) {
  const filter = { capability: place.search.get("capability") ?? "", kind: place.search.get("kind") ?? "", search: place.search.get("search") ?? "" };
  const found = (paused ?? app.events).filter((event) => matches(event, filter));
  return h(
    "section",
    { class: "panel", "aria-labelledby": "events-title" },
    h("h2", { id: "events-title" }, "Events ", h("small", { role: "status" }, paused ? "paused" : "live")),
    controls(filter),
    app.eventsDropped
      ? h("p", { class: "facts-line dim" }, `${count(app.eventsDropped)} events were left out here: more came than a page is sent. The stream has them all.`)
      : null,
    found.length ? lines(found.slice(0, SHOWN_MAX)) : app.events.length
        ? empty("None matches", "Of the newest ", count(EVENTS_MAX), " events.")
        : empty("No event yet", "What happens to tasks is here as it happens."),
    found.length > SHOWN_MAX ? h("p", { class: "facts-line dim" }, `and ${count(found.length - SHOWN_MAX)} older ones that match; search to see them`) : null,
  );
}

export function togglePause() {
  paused = paused ? null : [...app.events];
  drawNow();
}

/** @param {{ capability: string, kind: string, search: string }} filter */
function controls(filter) {
  const capabilities = [...new Set([...(app.snapshot?.pools ?? []).flatMap((pool) => pool.capabilities), ...(filter.capability ? [filter.capability] : [])])].sort();
  const set = (/** @type {string} */ name) => (/** @type {Event} */ event) =>
    replace(link(["events"], { ...filter, [name]: /** @type {HTMLInputElement} */ (event.target).value }));
  const command = subscription(filter);
  return h(
    "form",
    { class: "filters", role: "search", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    choice("capability", capabilities, filter.capability, set("capability")),
    choice("kind", KINDS, filter.kind, set("kind")),
    h(
      "label",
      { class: "grow" },
      h("span", null, "search"),
      h("input", { type: "search", value: filter.search, placeholder: "task, pool, replica, error, label", oninput: set("search"), maxlength: 200, spellcheck: "false", "data-search": true }),
    ),
    h("button", { type: "button", "aria-pressed": String(paused !== null), onclick: togglePause }, paused ? "Go on" : "Pause"),
    h("button", { type: "button", title: command, onclick: () => void copy(command) }, copied === command ? "Copied" : "Copy as nats sub"),
  );
}

/** @param {string} name @param {string[]} options @param {string} value @param {(event: Event) => void} onchange */
function choice(name, options, value, onchange) {
  return h(
    "label",
    null,
    h("span", null, name),
    h("select", { value, onchange }, h("option", { value: "" }, "any"), options.map((option) => h("option", { key: option, value: option }, words(option)))),
  );
}

/** @param {FleetEvent[]} list */
function lines(list) {
  return table(
    "Events, newest first",
    [{ head: "time", class: "mono" }, { head: "event" }, { head: "capability" }, { head: "task", class: "mono" }, { head: "where" }, { head: "latency", class: "r" }, { head: "more" }],
    list.map((event) => ({
      key: `${event.scope} ${event.task} ${event.kind} ${event.step ?? ""} ${event.at_unix_ms} ${event.replica ?? ""}`,
      cells: [
        h("time", { datetime: new Date(event.at_unix_ms).toISOString(), title: absolute(event.at_unix_ms) }, clock(event.at_unix_ms)),
        tag(event.kind),
        h("bdi", null, event.capability),
        h("a", { class: "cut id", href: link(["tasks", event.scope ?? "default", event.task]), title: event.task }, h("bdi", null, event.task)),
        whereText(event),
        event.latency_ms ? ms(event.latency_ms) : "",
        h("span", { class: "dim data" }, [event.step, event.error && words(event.error), event.replica].filter(Boolean).join(" · ")),
      ],
    })),
  );
}

/** @param {FleetEvent} event @param {{ capability: string, kind: string, search: string }} filter */
function matches(event, { capability, kind, search }) {
  if (capability && event.capability !== capability) return false;
  if (kind && event.kind !== kind) return false;
  if (!search) return true;
  const wanted = search.toLowerCase();
  const labels = Object.entries(event.labels ?? {}).map(([name, value]) => `${name}=${value}`);
  return [event.task, event.capability, event.pool, event.model, event.replica, event.error, event.step, event.scope, ...labels].some((text) =>
    text?.toLowerCase().includes(wanted),
  );
}

/** @param {{ capability: string, kind: string }} filter @returns {string} Ready for a shell: both are words of the fleet. */
function subscription({ capability, kind }) {
  const word = (/** @type {string} */ text) => (/^[a-z0-9_-]{1,63}$/.test(text) ? text : "*");
  return kind ? `nats sub 'events.${word(capability)}.${word(kind)}'` : capability ? `nats sub 'events.${word(capability)}.>'` : "nats sub 'events.>'";
}

/** @param {string} command */
async function copy(command) {
  try {
    await navigator.clipboard.writeText(command);
    copied = command;
  } catch {
    prompt("Copy this:", command);
  }
  drawNow();
}
