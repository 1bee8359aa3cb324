/** The first view: the fleet as a picture, its figures, and what waits for a person. */

import { count, ms, percent, rate, span, usd } from "../core/format.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { app, nowMs } from "../core/state.js";
import { empty, loading } from "../parts/states.js";
import { topology } from "../parts/topology.js";
import { tone } from "../parts/words.js";
import { lastHour } from "./latency.js";
import { taskTable } from "./task_table.js";

/** @import { Need, Snapshot } from "../contract.js" */

const TASKS_SHOWN = 8;
const TASKS_AGE_MS = 3000;

export const title = "Overview";

export function view() {
  const snapshot = app.snapshot;
  if (!snapshot) return loading();
  return h(
    "div",
    { class: "overview" },
    figures(snapshot),
    needsYou(snapshot.needs_you),
    h("section", { class: "panel topology-panel", "aria-labelledby": "topology-title" }, topology(snapshot)),
    boundary(snapshot),
    lastHour(snapshot),
    newestTasks(),
  );
}

/** @param {Snapshot} snapshot */
function figures({ totals, pools }) {
  const home = pools.reduce((sum, pool) => sum + (pool.zone === "local" ? (pool.tasks_per_s ?? 0) : 0), 0);
  const all = pools.reduce((sum, pool) => sum + (pool.tasks_per_s ?? 0), 0);
  const since_s = totals.since_unix_ms ? (nowMs() - totals.since_unix_ms) / 1000 : 3600;
  const period = since_s >= 3590 ? "in the last hour" : `in the last ${since_s < 60 ? span(Math.max(1, since_s)) : span(60 * Math.floor(since_s / 60))}`;
  /** @type {[string, string][]} */
  const shown = [
    [rate(totals.tasks_per_s), `tasks · ${count(totals.tasks_hour)} ${period}`],
    [percent(totals.ok_share), "went well"],
    [ms(totals.local_ms_avg), "average, local"],
    [ms(totals.cloud_ms_avg), "average, cloud"],
    [all > 0 ? percent(home / all) : "–", "of tasks stay local now"],
    [usd(totals.cost_usd_hour), `spent ${period}`],
  ];
  return h("dl", { class: "figures panel" }, shown.map(([value, name]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value))));
}

/** @param {Need[]} needs */
function needsYou(needs) {
  return h(
    "section",
    { class: "panel needs-panel", "aria-labelledby": "needs-title" },
    h("h2", { id: "needs-title" }, "Needs you"),
    needs.length
      ? h(
          "ul",
          { class: "needs" },
          needs.map((need) =>
            h(
              "li",
              { key: need.name },
              h("span", { class: `tag ${tone(need.severity)}` }, { bad: "broken", warn: "look", info: "note" }[need.severity] ?? "note"),
              h("div", { class: "data" }, h("p", null, need.text), h("p", { class: "dim" }, need.todo)),
              need.href?.startsWith("#") && need.href !== "#/" ? h("a", { class: "button", href: need.href, "aria-label": `Open: ${need.text}` }, "Open") : null,
            ),
          ),
        )
      : empty("Nothing", "No approval waits, no route is out, no task is dead or stands still, and budgets last."),
  );
}

/** @param {Snapshot} snapshot */
function boundary({ boundary: crossed, pools }) {
  if (!pools.some((pool) => pool.zone === "cloud") || !Object.keys(crossed.by_class).length) return null;
  const classes = /** @type {const} */ (["restricted", "internal", "public"]);
  return h(
    "section",
    { class: "panel boundary-panel", "aria-labelledby": "boundary-title" },
    h("h2", { id: "boundary-title" }, "To the cloud ", h("small", null, `${rate(crossed.tasks_per_s)} now`)),
    h(
      "table",
      null,
      h("caption", { class: "unseen" }, "Tasks per second that leave your network, by data class"),
      h("tbody", null, classes.map((name) => h("tr", { key: name }, h("th", { scope: "row" }, name), h("td", { class: "r" }, rate(crossed.by_class[name]))))),
    ),
  );
}

function newestTasks() {
  const found = resource("/api/tasks?steps=hidden", TASKS_AGE_MS);
  const tasks = (found.data?.tasks ?? []).slice(0, TASKS_SHOWN);
  return h(
    "section",
    { class: "panel wide", "aria-labelledby": "newest-title" },
    h("h2", { id: "newest-title" }, "Newest tasks ", h("small", null, h("a", { href: "#/tasks" }, "all of them"))),
    tasks.length ? taskTable(tasks) : found.loading && !found.data ? loading() : empty("No task yet", h("code", null, "flotilla ask classify FILE"), " sends one."),
  );
}

