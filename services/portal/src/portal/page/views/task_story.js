/** One task: what became of it, every attempt with its reason, a pipeline's steps, and its documents on request. */

import { absolute, ago, count, documentText, isKnown, ms, usd, words } from "../core/format.js";
import { drawNow } from "../core/frames.js";
import { link } from "../core/place.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { path } from "../core/server.js";
import { may } from "../core/state.js";
import { empty, whenLoaded } from "../parts/states.js";
import { stepGraph } from "../parts/step_graph.js";
import { table } from "../parts/table.js";
import { labelsText, tag, whereText } from "../parts/words.js";

/** @import { Attempt, FleetEvent, Story } from "../contract.js" */

const AGE_MS = 2000;

/** Whose documents were asked for, since they are shown on request only. */
let asked = "";

/** @param {string} scope @param {string} task */
export function taskStory(scope, task) {
  const where = `/api/tasks${path(scope, task)}`;
  const found = resource(where, AGE_MS);
  return h(
    "div",
    { class: "stack" },
    h("p", { class: "trail" }, h("a", { href: "#/tasks" }, "Tasks"), " / ", h("bdi", null, scope), found.data?.run ? [" / ", h("a", { class: "mono", href: link(["tasks", scope, found.data.run]) }, h("bdi", null, found.data.run))] : null, " / ", h("bdi", { class: "mono" }, task)),
    whenLoaded(found, (/** @type {Story} */ story) => [
      summary(story),
      story.steps?.length
        ? h("section", { class: "panel" }, h("h2", null, "Steps ", story.steps.some((step) => step.needs?.length) ? h("small", { class: "of-arrows" }, "arrows: what a step needs") : h("small", null, "in the order in which they began")), stepGraph(story.steps))
        : null,
      // A run has none of its own: its steps have.
      story.steps?.length && !story.attempts?.length ? null : attempts(story.attempts ?? []),
      events(story.events ?? [], story.events_dropped ?? 0),
      documents(where, story),
    ]),
  );
}

/** @param {Story} story */
function summary(story) {
  const error = typeof story.error === "string" ? { kind: story.error } : story.error;
  return h(
    "section",
    { class: "panel" },
    h("h2", { class: "title" }, h("bdi", { class: "mono" }, story.task), " ", tag(story.awaits_approval ? "awaiting_approval" : story.state)),
    error?.kind ? h("p", { class: "notice bad" }, h("b", null, words(error.kind)), error.message ? `: ${error.message}` : null) : null,
    story.awaits_approval ? h("p", { class: "notice warn" }, "It waits for an approval. ", h("a", { href: "#/approvals" }, "To the approvals")) : null,
    h(
      "dl",
      { class: "facts" },
      fact("capability", h("bdi", null, story.capability)),
      fact("scope", h("bdi", null, story.scope)),
      fact("where", whereText(story)),
      fact("latency", ms(story.latency_ms)),
      typeof story.queued_ms === "number" ? fact("of it in the queue", ms(story.queued_ms)) : null,
      fact("cost", usd(story.cost_usd)),
      isKnown(story.input_tokens) ? fact("tokens", `${count(story.input_tokens)} in, ${count(story.output_tokens)} out`) : null,
      fact("when", ago(story.at_unix_ms)),
      story.labels && Object.keys(story.labels).length ? fact("labels", labelsText(story.labels)) : null,
    ),
  );
}

/** @param {string} name @param {import("../core/render.js").Child} value */
function fact(name, value) {
  return h("div", null, h("dt", null, name), h("dd", null, value));
}

/** @param {Attempt[]} list */
function attempts(list) {
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "Attempts ", h("small", null, count(list.length))),
    list.length
      ? table(
          "Attempts, in their order",
          [
            { head: h("span", { class: "unseen" }, "number"), class: "r" },
            { head: "route" },
            { head: "outcome" },
            { head: "why there", class: "whole" },
            { head: "replica", class: "mono" },
            { head: "latency", class: "r" },
          ],
          list.map((attempt, index) => ({
            key: index,
            cells: [
              index + 1,
              whereText(attempt),
              [outcome(attempt.status), attempt.message ? h("div", { class: "dim data" }, attempt.message) : null],
              h("span", { class: "data" }, attempt.reason || "–"),
              h("bdi", null, attempt.replica || "–"),
              ms(attempt.latency_ms),
            ],
          })),
        )
      : empty("No attempt", "No worker has had it, or its attempts are no longer kept."),
  );
}

/** @param {string | undefined} status `ok`, `cancelled`, or one of many kinds of failure. */
function outcome(status) {
  return tag(status, status === "ok" ? "ok" : status === "cancelled" || !status ? "quiet" : "warn");
}

/** @param {FleetEvent[]} list @param {number} dropped */
function events(list, dropped) {
  if (!list.length) return null;
  const first = list[0]?.at_unix_ms ?? 0;
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "Events"),
    h(
      "ol",
      { class: "timeline" },
      list.slice(0, 200).map((event, index) =>
        h(
          "li",
          { key: index },
          h("time", { title: absolute(event.at_unix_ms), datetime: new Date(event.at_unix_ms).toISOString() }, `+${ms(Math.max(0, event.at_unix_ms - first))}`),
          tag(event.kind),
          h("span", { class: "data" }, [event.step, event.pool, event.replica, event.error && words(event.error)].filter(Boolean).join(" · ")),
        ),
      ),
    ),
    dropped ? h("p", { class: "facts-line dim" }, `and ${count(dropped)} more, which the portal did not keep`) : null,
  );
}

/** @param {string} where @param {Story} story */
function documents(where, story) {
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "Documents"),
    !may("documents")
      ? empty("Not shown to this role", "What came of a task is read with the credentials of who may read it: sign in as somebody of this scope.")
      : asked !== where
        ? h("div", { class: "state" }, story.has_result ? button(where) : h("p", { class: "dim" }, "There is a result when the task has ended."))
        : whenLoaded(resource(`${where}/result`), result),
  );
}

/** @param {string} where */
function button(where) {
  return h(
    "button",
    {
      type: "button",
      onclick: () => {
        asked = where;
        drawNow();
      },
    },
    "Show the result",
  );
}

/** @param {Record<string, unknown>} data */
function result(data) {
  const parts = ["input", "output", "error"].filter((name) => data[name] !== undefined && data[name] !== null);
  const shown = parts.length ? parts.map((name) => /** @type {[string, unknown]} */ ([name, data[name]])) : [/** @type {[string, unknown]} */ (["result", data])];
  return shown.map(([name, value]) => h("div", { key: name }, h("h3", null, name), h("pre", { class: "document", tabindex: "0" }, documentText(value))));
}
