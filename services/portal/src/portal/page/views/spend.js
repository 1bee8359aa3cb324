/** What the fleet costs: over the hour, and by route. */

import { count, isKnown, percent, rate, span, usd } from "../core/format.js";
import { link } from "../core/place.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { app } from "../core/state.js";
import { plot } from "../parts/plot.js";
import { empty, loading, whenLoaded } from "../parts/states.js";
import { table } from "../parts/table.js";
import { whereText } from "../parts/words.js";

/** @import { History, Route } from "../contract.js" */

const HISTORY_AGE_MS = 10_000;

export const title = "Spend";

export function view() {
  const snapshot = app.snapshot;
  if (!snapshot) return loading();
  const priced = snapshot.routes.filter((route) => isKnown(route.cost_usd_task)).sort((one, other) => (other.cost_usd_task ?? 0) - (one.cost_usd_task ?? 0));
  return h(
    "div",
    { class: "stack" },
    h(
      "section",
      { class: "panel", "aria-labelledby": "spend-title" },
      h("h2", { id: "spend-title" }, "Spend ", h("small", null, `${usd(snapshot.totals.cost_usd_hour)} for ${count(snapshot.totals.tasks_hour)} tasks, by the public price list`)),
      whenLoaded(resource("/api/history", HISTORY_AGE_MS), (/** @type {History} */ data) => {
        const at_unix_s = data.points.map((point) => point.at_unix_s);
        const per = `in ${span(data.step_s)}`;
        return h(
          "div",
          { class: "plots two" },
          plot({ title: "Cost", at_unix_s, lines: [{ name: per, tone: "cost", values: data.points.map((point) => point.cost_usd) }], format: usd, floor: 0.03 }),
          plot({ title: "Tokens", at_unix_s, lines: [{ name: per, tone: "p50", values: data.points.map((point) => point.tokens) }], format: count }),
        );
      }),
    ),
    h(
      "section",
      { class: "panel", "aria-labelledby": "priced-title" },
      h("h2", { id: "priced-title" }, "By route ", h("small", null, "dearest first")),
      priced.length ? routes(priced) : empty("No cost is known yet", "A route is here once it has done a task of which the price is known. Local models cost nothing here."),
    ),
  );
}

/** @param {Route[]} list */
function routes(list) {
  return table(
    "Cost by route",
    [{ head: "capability" }, { head: "route" }, { head: "cost of a task", class: "r" }, { head: "share", class: "r" }, { head: "tokens", class: "r" }],
    list.map((route) => ({
      key: `${route.capability} ${route.pool} ${route.model}`,
      cells: [
        h("a", { href: link(["routes"], { capability: route.capability, pool: route.pool, model: route.model }) }, h("bdi", null, route.capability)),
        whereText(route),
        usd(route.cost_usd_task),
        percent(route.share),
        rate(route.tokens_per_s),
      ],
    })),
  );
}
