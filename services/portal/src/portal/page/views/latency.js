/** The last hour on the overview: p95 of the busiest route of each zone, and how many tasks were done. */

import { count, ms, span } from "../core/format.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { query } from "../core/server.js";
import { plot, plotNote } from "../parts/plot.js";

/** @import { HistoryPoint, Route, Snapshot, Zone } from "../contract.js" */

const HISTORY_AGE_MS = 10_000;
/** A plot that changed its route with every snapshot could not be read. */
const CHOSEN_FOR_MS = 60_000;

/** @type {Map<Zone, { route: Route, atMs: number }>} */
const chosen = new Map();

/** @param {Snapshot} snapshot */
export function lastHour(snapshot) {
  const all = resource("/api/history", HISTORY_AGE_MS);
  if (!all.data) return null;
  /** @type {HistoryPoint[]} */
  const points = all.data.points ?? [];
  const lines = /** @type {Zone[]} */ (["local", "cloud"]).flatMap((zone) => lineOf(zone, snapshot));
  const at_unix_s = [...new Set(lines.flatMap((line) => [...line.byTime.keys()]))].sort((one, other) => one - other);
  return h(
    "section",
    { class: "panel plots two", "aria-label": "The last hour" },
    plot({
      title: "p95 of the busiest routes",
      at_unix_s,
      lines: lines.map((line) => ({ name: line.name, tone: line.zone, values: at_unix_s.map((at) => line.byTime.get(at)) })),
      format: ms,
      hour: all.data,
    }),
    plot({
      title: "Tasks",
      at_unix_s: points.map((point) => point.at_unix_s),
      lines: [{ name: `in ${span(all.data.step_s)}`, tone: "p50", values: points.map((point) => point.tasks) }],
      format: count,
      floor: 3,
      hour: all.data,
    }),
    plotNote(all.data),
  );
}

/** @param {Zone} zone @param {Snapshot} snapshot */
function lineOf(zone, snapshot) {
  const route = busiest(zone, snapshot);
  if (!route) return [];
  const { capability, pool, model } = route;
  const found = resource(`/api/history${query({ capability, pool, model })}`, HISTORY_AGE_MS);
  /** @type {HistoryPoint[]} */
  const points = found.data?.points ?? [];
  return [{ zone, name: `${capability} on ${pool}`, byTime: new Map(points.map((point) => [point.at_unix_s, point.p95_ms])) }];
}

/** @param {Zone} zone @param {Snapshot} snapshot @returns {Route | undefined} */
function busiest(zone, snapshot) {
  const before = chosen.get(zone);
  const isThere = before && snapshot.routes.some((route) => route.capability === before.route.capability && route.pool === before.route.pool);
  if (before && isThere && performance.now() - before.atMs < CHOSEN_FOR_MS) return before.route;
  const rates = new Map(snapshot.pools.map((pool) => [pool.name, pool.tasks_per_s ?? 0]));
  const flow = (/** @type {Route} */ route) => (rates.get(route.pool) ?? 0) * (route.share ?? 0);
  const route = snapshot.routes.filter((each) => each.zone === zone).sort((one, other) => flow(other) - flow(one))[0];
  if (route) chosen.set(zone, { route, atMs: performance.now() });
  return route;
}
