/** Experiments: the routes between which the policy splits a capability's tasks, side by side. */

import { ago, count, ms, percent, usd } from "../core/format.js";
import { h } from "../core/render.js";
import { resource } from "../core/resource.js";
import { empty, whenLoaded } from "../parts/states.js";
import { table } from "../parts/table.js";
import { whereText } from "../parts/words.js";

/** @import { Arm, Experiment } from "../contract.js" */

const AGE_MS = 5000;

export const title = "Experiments";

export function view() {
  return h(
    "div",
    { class: "stack" },
    whenLoaded(resource("/api/experiments", AGE_MS), (/** @type {{ experiments: Experiment[], more: number }} */ data) =>
      data.experiments.length
        ? [data.experiments.map(one), data.more ? h("p", { class: "dim" }, `and ${count(data.more)} more`) : null]
        : h("section", { class: "panel" }, empty("No experiment runs", "A capability whose policy has the strategy ", h("code", null, "split"), " with fixed weights is one.")),
    ),
  );
}

/** @param {Experiment} experiment */
function one(experiment) {
  return h(
    "section",
    { class: "panel", key: experiment.capability, "aria-label": `Experiment of ${experiment.capability}` },
    h("h2", null, h("bdi", null, experiment.capability), " ", h("small", null, experiment.began_unix_ms ? ["since ", ago(experiment.began_unix_ms)] : "no task yet")),
    table(
      `Arms of ${experiment.capability}`,
      [{ head: "route" }, { head: "tasks", class: "r" }, { head: "went well", class: "r" }, { head: "latency", class: "r" }, { head: "cost of a task", class: "r" }, { head: "score", class: "r" }, { head: "scored", class: "r" }],
      experiment.arms.map((/** @type {Arm} */ arm) => ({
        key: `${arm.pool} ${arm.model}`,
        cells: [whereText(arm), count(arm.tasks), percent(arm.ok_share), ms(arm.latency_ms), usd(arm.cost_usd), arm.score === null ? "–" : arm.score.toFixed(3), count(arm.scored)],
      })),
    ),
    h("p", { class: "facts-line dim" }, "Means. What may be concluded from them, however often one looks: ", h("code", null, `flotilla experiment report ${experiment.capability}`)),
  );
}
