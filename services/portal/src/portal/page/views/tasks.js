/** The newest tasks, filtered and paged; and one task's story. */

import { link, replace } from "../core/place.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { query } from "../core/server.js";
import { app } from "../core/state.js";
import { empty, whenLoaded } from "../parts/states.js";
import { pager } from "../parts/table.js";
import { taskStory } from "./task_story.js";
import { taskTable } from "./task_table.js";

/** @import { Place } from "../core/place.js" */

const AGE_MS = 3000;
const STATES = ["waiting", "running", "ok", "failed", "cancelled", "unknown"];
const FILTERS = ["capability", "state", "scope", "pool", "label", "steps"];

export const title = "Tasks";

/** @param {Place} place */
export function view(place) {
  const [scope, task] = place.parts;
  if (scope && task) return taskStory(scope, task);
  const filter = Object.fromEntries(FILTERS.map((name) => [name, place.search.get(name) ?? ""]));
  const cursor = place.search.get("cursor") ?? "";
  // Pages after the first stand still: what is read must not move away.
  const found = resource(`/api/tasks${query({ ...filter, cursor })}`, cursor ? Infinity : AGE_MS);
  return h(
    "section",
    { class: "panel", "aria-labelledby": "tasks-title" },
    h("h2", { id: "tasks-title" }, "Tasks ", h("small", null, "newest first")),
    filters(filter),
    whenLoaded(found, (data) => [
      data.tasks.length ? taskTable(data.tasks) : nothing(filter),
      pager({
        newest: cursor ? link(["tasks"], filter) : null,
        older: data.cursor ? link(["tasks"], { ...filter, cursor: data.cursor }) : null,
        shown: data.tasks.length,
        what: "tasks",
      }),
    ]),
  );
}

/** @param {Record<string, string>} filter */
function filters(filter) {
  const snapshot = app.snapshot;
  const capabilities = [...new Set((snapshot?.pools ?? []).flatMap((pool) => pool.capabilities))].sort();
  const pools = [...new Set((snapshot?.pools ?? []).map((pool) => pool.name))].sort();
  const set = (/** @type {string} */ name) => (/** @type {Event} */ event) =>
    replace(link(["tasks"], { ...filter, [name]: /** @type {HTMLInputElement} */ (event.target).value.trim() }));
  return h(
    "form",
    { class: "filters", role: "search", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    select("capability", capabilities, filter.capability, set("capability")),
    select("state", STATES, filter.state, set("state")),
    select("pool", pools, filter.pool, set("pool")),
    select("steps", ["hidden"], filter.steps, set("steps"), "shown"),
    input("scope", filter.scope, "any", set("scope")),
    input("label", filter.label, "key=value", set("label"), true),
    FILTERS.some((name) => filter[name]) ? h("a", { class: "button", href: "#/tasks" }, "Clear") : null,
  );
}

/**
 * @param {string} name
 * @param {string[]} options
 * @param {string | undefined} value
 * @param {(event: Event) => void} onchange
 * @param {string} [without] What it is without one of them.
 */
function select(name, options, value, onchange, without = "any") {
  const all = value && !options.includes(value) ? [value, ...options] : options;
  return h(
    "label",
    null,
    h("span", null, name),
    h(
      "select",
      { value: value ?? "", onchange },
      h("option", { value: "" }, without),
      all.map((option) => h("option", { key: option, value: option }, option.replaceAll("_", " "))),
    ),
  );
}

/**
 * @param {string} name
 * @param {string | undefined} value
 * @param {string} placeholder
 * @param {(event: Event) => void} onchange
 * @param {boolean} [isSearch] Where the key `/` goes.
 */
function input(name, value, placeholder, onchange, isSearch = false) {
  return h(
    "label",
    null,
    h("span", null, name),
    h("input", { type: "text", value: value ?? "", placeholder, onchange, maxlength: 200, spellcheck: "false", "data-search": isSearch }),
  );
}

/** @param {Record<string, string>} filter */
function nothing(filter) {
  if (Object.values(filter).some(Boolean)) return empty("No such task", "Of the newest tasks that the portal holds, none matches.");
  return empty("No task yet", h("code", null, "flotilla ask classify FILE"), " sends one.");
}
