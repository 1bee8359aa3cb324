/** What agents have written down for each other: keys with their newest values. */

import { ago, bytes, count, documentText } from "../core/format.js";
import { link, replace } from "../core/place.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { query } from "../core/server.js";
import { app } from "../core/state.js";
import { empty, whenLoaded } from "../parts/states.js";
import { pager, table } from "../parts/table.js";

/** @import { BlackboardEntry } from "../contract.js" */

const AGE_MS = 2000;
const VALUE_CHARS_SHOWN = 2000;

export const title = "Blackboard";

/** @param {import("../core/place.js").Place} place */
export function view(place) {
  const filter = { scope: place.search.get("scope") ?? "", prefix: place.search.get("prefix") ?? "" };
  const cursor = place.search.get("cursor") ?? "";
  return h(
    "section",
    { class: "panel", "aria-labelledby": "board-title" },
    h("h2", { id: "board-title" }, "Blackboard ", h("small", null, "live")),
    filters(filter),
    whenLoaded(resource(`/api/blackboard${query({ ...filter, cursor })}`, AGE_MS), (data) => [
      data.entries.length ? entries(data.entries) : empty(filter.prefix ? "No such key" : "Nothing is written here", h("code", null, "flotilla blackboard set KEY VALUE"), " writes."),
      pager({
        newest: cursor ? link(["blackboard"], filter) : null,
        older: data.cursor ? link(["blackboard"], { ...filter, cursor: data.cursor }) : null,
        shown: data.entries.length,
        what: "keys",
      }),
    ]),
  );
}

/** @param {{ scope: string, prefix: string }} filter */
function filters(filter) {
  const scopes = app.session?.scopes ?? [];
  const set = (/** @type {string} */ name) => (/** @type {Event} */ event) =>
    replace(link(["blackboard"], { ...filter, [name]: /** @type {HTMLInputElement} */ (event.target).value.trim() }));
  return h(
    "form",
    { class: "filters", role: "search", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    scopes.length > 1
      ? h(
          "label",
          null,
          h("span", null, "scope"),
          h("select", { value: filter.scope || scopes[0], onchange: set("scope") }, scopes.map((scope) => h("option", { key: scope, value: scope }, scope))),
        )
      : null,
    h(
      "label",
      null,
      h("span", null, "keys that begin with"),
      h("input", { type: "text", value: filter.prefix, placeholder: "case.2026", onchange: set("prefix"), maxlength: 256, spellcheck: "false", "data-search": true }),
    ),
  );
}

/** @param {BlackboardEntry[]} list */
function entries(list) {
  return table(
    "Keys with their newest values",
    [{ head: "key", class: "mono first" }, { head: "value", class: "whole" }, { head: "by" }, { head: "revision", class: "r" }, { head: "expires", class: "r" }, { head: "written", class: "r when" }],
    list.map((entry) => ({
      key: entry.key,
      cells: [
        h("bdi", { class: "data" }, entry.key),
        entry.value === undefined ? h("span", { class: "dim" }, `${bytes(entry.size_bytes)}, not shown here`) : h("pre", { class: "value" }, shortened(documentText(entry.value))),
        h("bdi", null, entry.author || "–"),
        count(entry.revision),
        entry.expires_unix_ms ? ago(entry.expires_unix_ms) : "–",
        ago(entry.at_unix_ms),
      ],
    })),
  );
}

/** @param {string} text */
function shortened(text) {
  return text.length > VALUE_CHARS_SHOWN ? `${text.slice(0, VALUE_CHARS_SHOWN)}… ${count(text.length)} characters` : text;
}
