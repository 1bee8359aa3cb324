/** One line per task, wherever tasks are listed. */

import { ago, ms, usd, words } from "../core/format.js";
import { link } from "../core/place.js";
import { h } from "../core/render.js";
import { table } from "../parts/table.js";
import { labelsText, tag, whereText } from "../parts/words.js";

/** @param {import("../contract.js").TaskLine[]} tasks */
export function taskTable(tasks) {
  return table(
    "Tasks, newest first",
    [
      { head: "task", class: "mono first" },
      { head: "capability" },
      { head: "state" },
      { head: "where" },
      { head: "latency", class: "r" },
      { head: "cost", class: "r" },
      { head: "labels", class: "spare" },
      { head: "scope", class: "spare" },
      { head: "when", class: "r when" },
    ],
    tasks.map((task) => ({
      key: `${task.scope} ${task.task}`,
      cells: [
        h("a", { class: "cut id", href: link(["tasks", task.scope, task.task]), title: task.task }, h("bdi", null, task.task)),
        [h("bdi", null, task.capability), task.run ? h("span", { class: "dim of-run" }, " of ", h("a", { class: "where", href: link(["tasks", task.scope, task.run]), title: task.run }, h("bdi", null, task.run))) : null],
        [tag(task.awaits_approval ? "awaiting_approval" : task.state), task.error ? h("span", { class: "dim" }, ` ${words(task.error)}`) : null],
        whereText(task),
        ms(task.latency_ms),
        usd(task.cost_usd),
        labelsText(task.labels),
        h("bdi", null, task.scope),
        ago(task.at_unix_ms),
      ],
    })),
  );
}
