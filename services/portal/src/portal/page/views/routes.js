/** Routes with their figures, the last hour of one of them, why tasks go where they go, and the policy. */

import { ago, count, isKnown, ms, percent, rate, span, usd } from "../core/format.js";
import { link } from "../core/place.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { query } from "../core/server.js";
import { app } from "../core/state.js";
import { plot, plotNote } from "../parts/plot.js";
import { empty, loading, whenLoaded } from "../parts/states.js";
import { table } from "../parts/table.js";
import { tag, whereText } from "../parts/words.js";
import { policyView } from "./policy.js";

/** @import { Explanation, History, HistoryPoint, Move, Route } from "../contract.js" */

const HISTORY_AGE_MS = 10_000;
const EXPLAIN_AGE_MS = 4000;
const MOVES_SHOWN = 10;
const CLASSES = ["public", "internal", "restricted"];

export const title = "Routes";

/** @param {import("../core/place.js").Place} place */
export function view(place) {
  if (place.parts[0] === "policy") return policyView();
  if (!app.snapshot) return loading();
  const routes = [...app.snapshot.routes].sort(inOrder);
  const chosen = {
    capability: place.search.get("capability") ?? "",
    pool: place.search.get("pool") ?? "",
    model: place.search.get("model") ?? "",
  };
  const first = routes.find((route) => matches(route, chosen)) ?? routes[0];
  return h(
    "div",
    { class: "stack" },
    h(
      "section",
      { class: "panel", "aria-labelledby": "routes-title" },
      h("h2", { id: "routes-title" }, "Routes ", h("small", null, h("a", { href: "#/routes/policy" }, "Policy"))),
      routes.length ? routeTable(routes, first) : empty("No route was in use", "A route is here when a task has taken it, and for an hour after."),
    ),
    first ? lastHour(first) : null,
    first ? explanation(first.capability, chosen, place.search.get("data_class") ?? "") : null,
  );
}

/** @param {Route[]} routes @param {Route | undefined} chosen */
function routeTable(routes, chosen) {
  return table(
    "Routes by capability",
    [
      { head: "capability" },
      { head: "route" },
      { head: "state" },
      { head: "share", class: "r" },
      { head: "p50", class: "r" },
      { head: "p95", class: "r" },
      { head: "guard", class: "r" },
      { head: "errors", class: "r" },
      { head: "tokens", class: "r" },
      { head: "cost of a task", class: "r" },
    ],
    routes.map((route) => {
      const isOver = typeof route.p95_ms === "number" && typeof route.p95_ms_guard === "number" && route.p95_ms > route.p95_ms_guard;
      return {
        key: `${route.capability} ${route.pool} ${route.model}`,
        class: route === chosen ? "chosen" : "",
        cells: [
          h("a", { class: "where", href: hrefOf(route), title: route.capability, "aria-current": route === chosen ? "true" : null }, h("bdi", null, route.capability)),
          whereText(route),
          [tag(route.status, undefined, route.words), route.words && route.status !== "healthy" && route.status !== "idle" ? h("div", { class: "dim data" }, route.words) : null],
          h("span", { class: "share" }, h("i", { class: route.zone, style: { width: `${Math.round(100 * (route.share ?? 0))}%` } }), percent(route.share)),
          ms(route.p50_ms),
          h("span", { class: isOver ? "warn-text" : null, title: isOver ? "over its guard" : null }, ms(route.p95_ms)),
          ms(route.p95_ms_guard),
          percent(route.error_rate),
          rate(route.tokens_per_s),
          usd(route.cost_usd_task),
        ],
      };
    }),
  );
}

/** @param {Route} route */
function lastHour(route) {
  const found = resource(`/api/history${query({ capability: route.capability, pool: route.pool, model: route.model })}`, HISTORY_AGE_MS);
  const whole = resource(`/api/history${query({ capability: route.capability })}`, HISTORY_AGE_MS);
  return h(
    "section",
    { class: "panel", "aria-labelledby": "hour-title" },
    h("h2", { id: "hour-title" }, h("span", null, "The last hour of ", h("bdi", null, route.capability), " on ", h("bdi", null, route.pool), " ", h("bdi", { class: "dim" }, route.model))),
    whenLoaded(found, (/** @type {History} */ data) => [hourPlots(route, data, whole.data?.points ?? []), moved(data.moves)]),
  );
}

/** @param {Route} route @param {History} data @param {HistoryPoint[]} whole Of its capability, by whichever route. */
function hourPlots(route, data, whole) {
  const at_unix_s = data.points.map((point) => point.at_unix_s);
  const all = new Map(whole.map((point) => [point.at_unix_s, point.tasks]));
  const per = `in ${span(data.step_s)}`;
  const drawn = { at_unix_s, hour: data, moves: data.moves.map((move) => ({ at_unix_s: move.at_unix_s, words: moveWords(move) })) };
  return h(
    "div",
    { class: "plots two" },
    plot({
      ...drawn,
      title: "Latency",
      lines: [
        { name: "p95", tone: "p95", values: data.points.map((point) => point.p95_ms) },
        { name: "p50", tone: "p50", values: data.points.map((point) => point.p50_ms) },
      ],
      format: ms,
      guard: route.p95_ms_guard ?? null,
    }),
    plot({ ...drawn, title: "Errors", lines: [{ name: "share", tone: "errors", values: data.points.map((point) => point.error_rate) }], format: percent, floor: 0.01 }),
    plot({ ...drawn, title: "Tasks", lines: [{ name: per, tone: "p50", values: data.points.map((point) => point.tasks) }], format: count, floor: 3 }),
    plot({ ...drawn, title: "Share of the capability", lines: [{ name: "share", tone: "p50", values: data.points.map((point) => shareOf(point.tasks, all.get(point.at_unix_s))) }], format: percent, ceiling: 1 }),
    plot({ ...drawn, title: "Tokens", lines: [{ name: "in and out", tone: "p50", values: data.points.map((point) => isKnown(point.tokens) ? point.tokens / data.step_s : null) }], format: rate, floor: 3 }),
    plot({ ...drawn, title: "Cost", lines: [{ name: per, tone: "cost", values: data.points.map((point) => point.cost_usd) }], format: usd, floor: 0.0003 }),
    plotNote(data),
  );
}

/** @param {import("../contract.js").Figure} tasks @param {import("../contract.js").Figure} all Not known yet of the newest step. */
function shareOf(tasks, all) {
  return isKnown(tasks) && isKnown(all) && all > 0 ? Math.min(1, tasks / all) : null;
}

/** @param {Move[]} moves */
function moved(moves) {
  if (!moves.length) return null;
  return h(
    "div",
    { class: "moves" },
    h("h3", null, "Moves ", h("small", null, "marked in the plots")),
    h(
      "ol",
      null,
      moves
        .slice(-MOVES_SHOWN)
        .reverse()
        .map((move, index) => h("li", { key: index }, ago(move.at_unix_s * 1000), " ", tag(move.status), " ", h("span", { class: "data dim" }, move.words))),
    ),
  );
}

/** @param {Move} move */
function moveWords(move) {
  return [move.status.replaceAll("_", " "), move.words].filter(Boolean).join(": ");
}

/** @param {string} capability @param {Record<string, string>} chosen @param {string} dataClass */
function explanation(capability, chosen, dataClass) {
  const found = resource(`/api/explain${query({ capability, data_class: dataClass })}`, EXPLAIN_AGE_MS);
  return h(
    "section",
    { class: "panel", "aria-labelledby": "why-title" },
    h("h2", { id: "why-title" }, h("span", null, "Where a task of ", h("bdi", null, capability), " would go now, and why")),
    h(
      "p",
      { class: "choices", role: "group", "aria-label": "Data class" },
      ["", ...CLASSES].map((each) =>
        h("a", { class: "button", href: link(["routes"], { ...chosen, capability, data_class: each }), "aria-current": each === dataClass ? "true" : null }, each || "scope's default"),
      ),
    ),
    whenLoaded(found, explained),
  );
}

/** @param {Explanation} data */
function explained(data) {
  const policy = data.policy_revision ? `policy revision ${data.policy_revision}` : "no policy";
  return [
    h("p", { class: "facts-line dim" }, `As ${data.data_class} data, by the strategy ${data.strategy}, ${policy}.`),
    data.reason ? h("p", { class: "notice warn" }, data.reason) : null,
    h(
      "ol",
      { class: "explained" },
      data.routes.map((route, index) => h("li", { key: `in ${index}` }, h("b", { class: "order" }, `${index + 1}.`), whereText(route), h("span", { class: "data" }, route.reason))),
      data.excluded.map((route, index) => h("li", { key: `out ${index}`, class: "out" }, tag("out", "quiet"), whereText(route), h("span", { class: "data" }, route.reason))),
    ),
  ];
}

/** @param {Route} route @param {Record<string, string>} chosen */
function matches(route, chosen) {
  return route.capability === chosen.capability && (!chosen.pool || route.pool === chosen.pool) && (!chosen.model || route.model === chosen.model);
}

/** @param {Route} route */
function hrefOf(route) {
  return link(["routes"], { capability: route.capability, pool: route.pool, model: route.model });
}

/** @param {Route} one @param {Route} other */
function inOrder(one, other) {
  return one.capability.localeCompare(other.capability) || (other.share ?? 0) - (one.share ?? 0) || one.pool.localeCompare(other.pool);
}
