/**
 * A pipeline's steps as a graph, from left to right.
 *
 * On a narrow window the picture is a list, in the same order (the style sheet does that).
 */

import { isKnown, ms, usd } from "../core/format.js";
import { h } from "../core/render.js";
import { arrange, BOX_WIDTH, GAP_X } from "./step_layout.js";
import { classTag, tag, whereText } from "./words.js";

/** @param {import("../contract.js").Step[]} steps */
export function stepGraph(steps) {
  if (!steps.some((step) => step.needs)) return h("ol", { class: "steps-boxes in-order" }, arrange(steps).boxes.map(boxView));
  const { boxes, arrows, width, height } = arrange(steps);
  return h(
    "div",
    { class: "scroll steps-scroll", tabindex: "0", role: "region", "aria-label": "Steps of the pipeline" },
    h(
      "div",
      { class: "steps", style: { "--steps-width": `${width}px`, "--steps-height": `${height}px` } },
      h(
        "svg",
        { class: "steps-edges", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
        arrows.map((arrow) => {
          const [x, y] = arrow.points.at(-1) ?? [0, 0];
          return [
            h("path", { key: `${arrow.from} ${arrow.to}`, d: way(arrow.points) }),
            h("path", { key: `tip ${arrow.from} ${arrow.to}`, class: "tip", d: `M${x - 8} ${y - 4.5}L${x - 1} ${y}L${x - 8} ${y + 4.5}z` }),
          ];
        }),
      ),
      h("ol", { class: "steps-boxes" }, boxes.map(boxView)),
    ),
  );
}

/** @param {import("./step_layout.js").Box} box */
function boxView({ step, parts, column, y }) {
  const took = parts.map((part) => part.latency_ms).filter(isKnown);
  const cost = parts.map((part) => part.cost_usd).filter(isKnown).reduce((sum, each) => sum + each, 0);
  const figures = [took.length ? ms(Math.max(...took)) : null, cost > 0 ? usd(cost) : null].filter(Boolean).join(" · ");
  return h(
    "li",
    { key: step.step, class: `step ${step.zone ?? ""}`, style: { left: `${column * (BOX_WIDTH + GAP_X)}px`, top: `${y}px` } },
    h("div", { class: "step-head" }, h("b", { class: "cut", title: step.step }, step.step), h("span", { class: "dim" }, figures)),
    h("div", { class: "dim cut", title: step.capability }, step.capability, (step.tasks ?? parts.length) > 1 ? ` × ${step.tasks ?? parts.length}` : null),
    h("div", { class: "cut" }, whereText(step)),
    h("div", { class: "step-foot" }, tag(step.status, undefined, step.error), classTag(step.data_class)),
  );
}

/** @param {[number, number][]} points @returns {string} */
function way(points) {
  let [x, y] = points[0] ?? [0, 0];
  let d = `M${x} ${y}`;
  for (const [nextX, nextY] of points.slice(1)) {
    const middle = (x + nextX) / 2;
    d += nextY === y ? `H${nextX}` : `C${middle} ${y} ${middle} ${nextY} ${nextX} ${nextY}`;
    [x, y] = [nextX, nextY];
  }
  return d;
}
