/**
 * The fleet as a picture: callers, orchestrators, pools in their zones, and the boundary between these.
 *
 * Everything but the arrows is ordinary text in ordinary boxes, so names are cut by the browser and not by guesses, and
 * on a narrow window the same elements are a list. The arrows lie behind, between the places that the browser chose.
 *
 * @import { Pool, Replica, Route, Snapshot } from "../contract.js"
 */

import { count, ms, percent, rate, span, words } from "../core/format.js";
import { drawNow } from "../core/frames.js";
import { h } from "../core/render.js";
import { app } from "../core/state.js";
import { edgesOf } from "./topology_edges.js";
import { tag, tone } from "./words.js";

/** Pools of a zone that are drawn unless all are asked for: those in trouble first, then the busiest. */
const POOLS_SHOWN = 8;
/** More slots than that are a bar. */
const DOTS_MAX = 24;
const REPLICAS_SHOWN = 100;
/** How many slots of any other are taken, nobody knows. */
const IN_USE = ["ready", "busy"];

/** Pools whose replicas are shown, and zones all of whose pools are. @type {Set<string>} */
const opened = new Set();

/** @param {Snapshot} snapshot */
export function topology(snapshot) {
  const zones = /** @type {const} */ (["local", "cloud"]).map((zone) => ({
    zone,
    pools: snapshot.pools.filter((pool) => pool.zone === zone).sort(byImportance),
  }));
  const flows = new Map(snapshot.pools.map((pool) => [`${pool.zone}/${pool.name}`, pool.tasks_per_s ?? 0]));
  return [
    h("h2", { id: "topology-title" }, "Topology ", h("small", { class: "of-arrows" }, "the thicker an arrow, the more tasks take it")),
    h(
      "div",
      { class: "topology" },
      edgesOf(flows, snapshot.totals.tasks_per_s ?? 0),
      callers(snapshot),
      orchestrators(snapshot),
      h(
        "div",
        { class: "zones" },
        zoneView(zones[0]?.pools ?? [], "local", "Local zone", "your hardware"),
        boundaryView(snapshot),
        zoneView(zones[1]?.pools ?? [], "cloud", "Cloud zone", "leaves your network"),
      ),
    ),
  ];
}

/** @param {Snapshot} snapshot */
function callers({ totals, backlog }) {
  /** @type {Map<string, number>} */
  const waiting = new Map((app.session?.scopes ?? []).map((scope) => [scope, 0]));
  for (const line of backlog) waiting.set(line.scope, (waiting.get(line.scope) ?? 0) + line.pending);
  const scopes = [...waiting].sort((one, other) => other[1] - one[1]);
  return h(
    "div",
    { class: "node callers", "data-node": "callers" },
    h("h3", null, "Callers"),
    h("p", null, h("b", null, rate(totals.tasks_per_s))),
    h(
      "ul",
      null,
      scopes.slice(0, 5).map(([scope, pending]) =>
        h("li", { key: scope, class: "dim cut", title: scope }, h("bdi", null, scope), pending ? ` · ${count(pending)} in hand` : null),
      ),
      scopes.length > 5 ? h("li", { class: "dim" }, `and ${count(scopes.length - 5)} more`) : null,
    ),
  );
}

/** @param {Snapshot} snapshot */
function orchestrators({ fleet }) {
  const inFlight = fleet.orchestrators.reduce((sum, each) => sum + (each.tasks_in_flight ?? 0), 0);
  const isKnown = fleet.orchestrators.some((each) => typeof each.tasks_in_flight === "number");
  return h(
    "div",
    { class: `node orchestrators${fleet.orchestrators.length ? "" : " bad"}`, "data-node": "orchestrators" },
    h("h3", null, "Orchestrators"),
    h("p", null, fleet.orchestrators.length ? h("b", null, `${count(fleet.orchestrators.length)} at work`) : tag("gone", "bad")),
    h(
      "ul",
      null,
      isKnown ? h("li", { class: "dim" }, `${count(inFlight)} tasks in flight`) : null,
      fleet.orchestrators.slice(0, 4).map((each) => h("li", { key: each.instance, class: "dim cut", title: each.instance }, h("bdi", null, each.instance))),
      fleet.orchestrators.length > 4 ? h("li", { class: "dim" }, `and ${count(fleet.orchestrators.length - 4)} more`) : null,
    ),
  );
}

/** @param {Pool[]} pools @param {"local" | "cloud"} zone @param {string} name @param {string} meaning */
function zoneView(pools, zone, name, meaning) {
  const key = `zone ${zone}`;
  const shown = opened.has(key) ? pools : pools.slice(0, POOLS_SHOWN);
  return h(
    "section",
    { class: `zone ${zone}`, "aria-label": name },
    h("h3", null, name, h("span", { class: "dim" }, ` · ${meaning}`)),
    pools.length
      ? h("ul", { class: "pools" }, shown.map(poolView))
      : h("p", { class: "dim none" }, zone === "cloud" ? "No pool: nothing leaves." : "No pool yet: start a worker, and it is here in two seconds."),
    pools.length > POOLS_SHOWN
      ? h("button", { type: "button", class: "more", "aria-expanded": String(opened.has(key)), onclick: () => toggle(key) }, opened.has(key) ? "Fewer" : `${count(pools.length - POOLS_SHOWN)} more pools`)
      : null,
  );
}

/** @param {Snapshot} snapshot */
function boundaryView({ boundary }) {
  const { restricted, internal, public: open } = boundary.by_class;
  const byClass = [["restricted", restricted], ["internal", internal], ["public", open]].filter(([, crosses]) => typeof crosses === "number");
  return h(
    "div",
    { class: "boundary" },
    h(
      "span",
      null,
      "privacy boundary · ",
      byClass.length
        ? byClass.map(([name, crosses], index) => [index ? " · " : null, h("span", { class: name === "restricted" && crosses ? "bad-text" : null }, `${name} ${rate(Number(crosses))}`)])
        : `${rate(boundary.tasks_per_s)} cross it`,
    ),
  );
}

/** @param {Pool} pool */
function poolView(pool) {
  const key = `${pool.zone}/${pool.name}`;
  const isOpen = opened.has(key);
  const total = pool.replicas_total ?? pool.replicas.length;
  const models = pool.models.join(", ");
  const out = routesOf(pool).filter((route) => tone(route.status) !== "ok" && route.status !== "idle");
  const status = tone(pool.status) === "ok" && out[0] ? out[0].status : pool.status;
  return h(
    "li",
    { key, class: `node pool ${tone(status)}`, "data-node": key },
    h(
      "button",
      { type: "button", class: "pool-button", "aria-expanded": String(isOpen), onclick: () => toggle(key), title: `${pool.name}: ${models}` },
      h("span", { class: "pool-name" }, h("b", { class: "cut" }, h("bdi", null, pool.name)), h("bdi", { class: "dim cut" }, models)),
      h("span", { class: "pool-status" }, tag(status)),
      slots(pool.slots, pool.slots_free),
      h("span", { class: "dim pool-slots" }, pool.slots ? `${count(pool.slots - pool.slots_free)} of ${count(pool.slots)} slots taken · ${count(total)} ${total === 1 ? "replica" : "replicas"}` : "no slots"),
      h("span", { class: "pool-rate" }, rate(pool.tasks_per_s)),
      h("span", { class: "dim cut pool-words" }, poolWords(pool, out)),
    ),
    isOpen ? replicas(pool.replicas, total) : null,
  );
}

/** @param {Pool} pool @returns {Route[]} */
function routesOf(pool) {
  return (app.snapshot?.routes ?? []).filter((route) => route.pool === pool.name);
}

/** What is wrong with it or with a route to it; else the slowest and the worst of its routes. @param {Pool} pool @param {Route[]} out */
function poolWords(pool, out) {
  if (pool.words && tone(pool.status) !== "ok") return pool.words;
  if (out[0]) return `${out[0].capability}: ${out[0].words || words(out[0].status)}${out.length > 1 ? `, and ${out.length - 1} more` : ""}`;
  const routes = routesOf(pool).filter((route) => typeof route.p95_ms === "number");
  if (!routes.length) return pool.capabilities.join(", ");
  const p95 = Math.max(...routes.map((route) => route.p95_ms ?? 0));
  const errors = Math.max(...routes.map((route) => route.error_rate ?? 0));
  return `p95 ${ms(p95)} · errors ${percent(errors)}`;
}

/** @param {number} all @param {number} free */
function slots(all, free) {
  const busy = Math.max(0, all - free);
  if (all > DOTS_MAX) {
    return h("span", { class: "slots bar", "aria-hidden": "true" }, h("span", { style: { width: `${(100 * busy) / all}%` } }));
  }
  return h("span", { class: "slots", "aria-hidden": "true" }, Array.from({ length: all }, (_, index) => h("i", { class: index < busy ? "busy" : null })));
}

/** @param {Replica[]} list @param {number} total */
function replicas(list, total) {
  return h(
    "ul",
    { class: "replicas" },
    list.slice(0, REPLICAS_SHOWN).map((replica) =>
      h(
        "li",
        { key: replica.instance },
        h("bdi", { class: "mono cut", title: replica.instance }, replica.instance),
        h("span", { class: `${tone(replica.status)}-text`, title: replica.words || null }, words(replica.status)),
        h("span", { class: "dim" }, IN_USE.includes(replica.status) ? `${count(replica.slots - replica.slots_free)} of ${count(replica.slots)} taken` : `${count(replica.slots)} slots`),
        h("span", { class: "dim" }, typeof replica.age_s === "number" ? `${replica.status === "gone" ? "left" : "heard"} ${span(replica.age_s)} ago` : ""),
      ),
    ),
    total > list.length ? h("li", { class: "dim" }, `and ${count(total - list.length)} more`) : null,
  );
}

/** @param {string} key */
function toggle(key) {
  if (!opened.delete(key)) opened.add(key);
  drawNow();
}

/** @param {Pool} one @param {Pool} other */
function byImportance(one, other) {
  const trouble = { bad: 0, warn: 1, quiet: 2, ok: 2 };
  return trouble[tone(one.status)] - trouble[tone(other.status)] || one.name.localeCompare(other.name);
}
