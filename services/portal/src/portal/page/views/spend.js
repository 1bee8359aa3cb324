/** What the fleet costs: over the hour, and by route. */

import { count, isKnown, percent, rate, span, usd } from "../core/format.js";
import { link, replace } from "../core/place.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { query } from "../core/server.js";
import { app } from "../core/state.js";
import { plot, plotNote } from "../parts/plot.js";
import { empty, loading, whenLoaded } from "../parts/states.js";
import { table } from "../parts/table.js";
import { whereText } from "../parts/words.js";

/** @import { History, Route, SpendReport } from "../contract.js" */

const HISTORY_AGE_MS = 10_000;
const LEDGER_AGE_MS = 10_000;
const GROUPS = ["pool", "model", "capability", "day", "scope"];

export const title = "Spend";

/** @param {import("../core/place.js").Place} place */
export function view(place) {
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
          plot({ title: "Cost", at_unix_s, lines: [{ name: per, tone: "cost", values: data.points.map((point) => point.cost_usd) }], format: usd, floor: 0.0003, hour: data }),
          plot({ title: "Tokens", at_unix_s, lines: [{ name: per, tone: "p50", values: data.points.map((point) => point.tokens) }], format: count, floor: 3, hour: data }),
          plotNote(data),
        );
      }),
    ),
    ledger(place.search.get("by") ?? "pool"),
    h(
      "section",
      { class: "panel", "aria-labelledby": "priced-title" },
      h("h2", { id: "priced-title" }, "By route ", h("small", null, "dearest first")),
      priced.length ? routes(priced) : empty("No route with a price is in use", "A route is here while it does tasks of which the price is known. Local models cost what their worker is told."),
    ),
  );
}

/** All that was ever spent, as the ledger has it, and what budgets leave. @param {string} by */
function ledger(by) {
  return h(
    "section",
    { class: "panel", "aria-labelledby": "ledger-title" },
    h("h2", { id: "ledger-title" }, "Ledger ", h("small", null, "what tasks of your scope have cost")),
    h(
      "form",
      { class: "filters", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
      h(
        "label",
        null,
        h("span", null, "by"),
        h(
          "select",
          { value: by, onchange: (/** @type {Event} */ event) => replace(link(["spend"], { by: /** @type {HTMLSelectElement} */ (event.target).value })) },
          GROUPS.map((group) => h("option", { key: group, value: group }, group)),
        ),
      ),
    ),
    whenLoaded(resource(`/api/spend${query({ by })}`, LEDGER_AGE_MS), (/** @type {SpendReport} */ data) => [
      data.lines.length
        ? table(
            `Cost by ${data.by}`,
            [{ head: data.by }, { head: "cost", class: "r" }, { head: "entries", class: "r" }],
            data.lines.map((line) => ({ key: line.key, cells: [h("bdi", null, line.key || "–"), usd(line.usd), count(line.entries)] })),
          )
        : empty("Nothing was spent yet", "An entry is made for a task that cost something. Local models cost what their worker is told."),
      h("p", { class: "facts-line dim" }, `${usd(data.usd)} in all${data.unpriced ? `, and ${count(data.unpriced)} tasks whose cost is not known` : ""}${data.complete ? "" : "; of what one answer looks at"}${data.more ? `; ${count(data.more)} more lines` : ""}`),
      data.budgets.length
        ? table(
            "Budgets",
            [{ head: "budget" }, { head: "period" }, { head: "used", class: "r" }, { head: "of", class: "r" }, { head: "mode" }],
            data.budgets.map((budget) => ({ key: budget.name, cells: [h("bdi", null, budget.name), budget.period, isKnown(budget.used_usd) ? usd(budget.used_usd) : "cannot be read", usd(budget.usd), budget.mode] })),
          )
        : null,
    ]),
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
