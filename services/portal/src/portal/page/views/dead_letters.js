/** Tasks that could not be done: why, and retried or discarded, one or many. */

import { ago, bytes, count, words } from "../core/format.js";
import { drawNow } from "../core/frames.js";
import { link, replace } from "../core/place.js";
import { h } from "../core/render.js";
import { forget, resource } from "../core/resource.js";
import { query, request } from "../core/server.js";
import { app, may } from "../core/state.js";
import { confirm } from "../parts/dialog.js";
import { empty, whenLoaded } from "../parts/states.js";
import { pager, table } from "../parts/table.js";
import { tag } from "../parts/words.js";

/** @import { DeadLetter } from "../contract.js" */

const AGE_MS = 4000;
const AGAIN_SHOWN = 5;

/** Those with a tick, as `scope task`. @type {Set<string>} */
const chosen = new Set();
let said = "";
/** As what they were tried again. @type {{ scope: string, task: string }[]} */
let again = [];

export const title = "Dead letters";

/** @param {import("../core/place.js").Place} place */
export function view(place) {
  const scope = place.search.get("scope") ?? "";
  const cursor = place.search.get("cursor") ?? "";
  return h(
    "section",
    { class: "panel", "aria-labelledby": "dead-title" },
    h("h2", { id: "dead-title" }, "Dead letters ", h("small", null, "durable tasks that could not be done")),
    scopes(scope),
    said ? h("p", { class: "notice ok", role: "status" }, said, again.slice(0, AGAIN_SHOWN).map((each, index) => [index ? ", " : " Follow ", h("a", { key: each.task, href: link(["tasks", each.scope, each.task]) }, h("bdi", null, each.task))])) : null,
    whenLoaded(resource(`/api/dead${query({ scope, cursor })}`, AGE_MS), (data) => [
      data.dead.length ? [may("retry") ? actions(data.dead) : null, letters(data.dead)] : empty("None", "Every durable task has been done, or is being worked on."),
      pager({
        newest: cursor ? link(["dead"], { scope }) : null,
        older: data.cursor ? link(["dead"], { scope, cursor: data.cursor }) : null,
        shown: data.dead.length,
        what: "dead letters",
      }),
    ]),
  );
}

/** @param {string} scope */
function scopes(scope) {
  const known = app.session?.scopes ?? [];
  if (known.length < 2) return null;
  return h(
    "form",
    { class: "filters", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    h(
      "label",
      null,
      h("span", null, "scope"),
      h(
        "select",
        {
          value: scope,
          "data-search": true,
          onchange: (/** @type {Event} */ event) => replace(link(["dead"], { scope: /** @type {HTMLSelectElement} */ (event.target).value })),
        },
        h("option", { value: "" }, "any"),
        known.map((each) => h("option", { key: each, value: each }, each)),
      ),
    ),
  );
}

/** @param {DeadLetter[]} shown */
function actions(shown) {
  const ticked = shown.filter((letter) => chosen.has(nameOf(letter)));
  return h(
    "p",
    { class: "actions start" },
    h(
      "button",
      {
        type: "button",
        onclick: () => {
          const all = ticked.length === shown.length;
          for (const letter of shown) if (all) chosen.delete(nameOf(letter)); else chosen.add(nameOf(letter));
          drawNow();
        },
      },
      ticked.length === shown.length ? "Choose none" : "Choose all on this page",
    ),
    h("button", { type: "button", class: "primary", disabled: !ticked.length, onclick: () => ask("retry", ticked) }, ticked.length ? `Retry ${count(ticked.length)}` : "Retry"),
    h("button", { type: "button", class: "danger", disabled: !ticked.length, onclick: () => ask("discard", ticked) }, ticked.length ? `Discard ${count(ticked.length)}` : "Discard"),
  );
}

/** @param {DeadLetter[]} list */
function letters(list) {
  const canChoose = may("retry");
  return table(
    "Dead letters, newest first",
    [
      ...(canChoose ? [{ head: h("span", { class: "unseen" }, "chosen") }] : []),
      { head: "task", class: "mono first" },
      { head: "capability" },
      { head: "why", class: "whole" },
      { head: "size", class: "r" },
      { head: "scope" },
      { head: "when", class: "r when" },
    ],
    list.map((letter) => ({
      key: nameOf(letter),
      cells: [
        ...(canChoose ? [tick(letter)] : []),
        h("a", { class: "cut id", href: link(["tasks", letter.scope, letter.task]), title: letter.task }, h("bdi", null, letter.task)),
        h("bdi", null, letter.capability),
        h("div", { class: "why" }, tag(letter.error?.kind ? words(letter.error.kind) : "failed", "bad"), letter.error?.message ? h("div", { class: "dim data" }, letter.error.message) : null),
        bytes(letter.size_bytes),
        h("bdi", null, letter.scope),
        ago(letter.at_unix_ms),
      ],
    })),
  );
}

/** @param {DeadLetter} letter */
function tick(letter) {
  const name = nameOf(letter);
  return h("input", {
    type: "checkbox",
    "aria-label": `Choose ${letter.task}`,
    checked: chosen.has(name),
    onchange: () => {
      if (!chosen.delete(name)) chosen.add(name);
      drawNow();
    },
  });
}

/** @param {"retry" | "discard"} what @param {DeadLetter[]} ticked */
function ask(what, ticked) {
  const many = ticked.length === 1 ? "1 task" : `${count(ticked.length)} tasks`;
  confirm({
    title: what === "retry" ? `Try ${many} again?` : `Discard ${many}?`,
    text: what === "retry" ? "Each goes to its stream as it was, under a new id, and costs what it costs. What stands here stays until it is discarded." : "Their records and inputs are deleted. This cannot be taken back.",
    action: what === "retry" ? "Retry" : "Discard",
    danger: what === "discard",
    run: async () => {
      const ids = ticked.map(({ scope, task }) => ({ scope, task }));
      const answer = await request(`/api/dead/${what}`, { method: "POST", body: { ids } });
      /** @type {{ scope: string, retried_as?: string, error?: { message?: string } | string }[]} */
      const results = Array.isArray(answer?.results) ? answer.results : [];
      const failed = results.filter((result) => result.error);
      const why = failed[0]?.error;
      const reason = typeof why === "string" ? why : (why?.message ?? "");
      said = `${count(ids.length - failed.length)} ${what === "retry" ? "tried again" : "discarded"}${failed.length ? `, ${count(failed.length)} not: ${reason}` : ""}.`;
      again = results.flatMap(({ scope, retried_as: task }) => (task ? [{ scope, task }] : []));
      for (const letter of ticked) chosen.delete(nameOf(letter));
      forget("/api/dead");
    },
  });
}

/** @param {DeadLetter} letter */
function nameOf(letter) {
  return `${letter.scope} ${letter.task}`;
}
