/**
 * Where the steps of a pipeline are drawn. Pure: steps in, places out.
 *
 * A step stands one column behind the last that it needs. An arrow over more than one column has a passage of its own
 * in each column between, so that it crosses no box.
 *
 * @import { Step } from "../contract.js"
 * @typedef {{ step: Step, parts: Step[], column: number, y: number }} Box `parts`: of a step that ran for each item.
 * @typedef {{ from: string, to: string, points: [number, number][] }} Arrow Through these points, box sides included.
 * @typedef {{ boxes: Box[], arrows: Arrow[], width: number, height: number }} Layout
 * @typedef {{ name: string, needs: string[], height: number, y: number }} Item A box, or a passage of what is behind it.
 */

export const BOX_WIDTH = 232;
export const BOX_HEIGHT = 104;
export const GAP_X = 48;
const GAP_Y = 16;
const PASSAGE_HEIGHT = 12;
/** A pipeline has 64 steps at most; a server that says more is not believed. */
const STEPS_MAX = 64;

/** @param {Step[]} steps @returns {Layout} */
export function arrange(steps) {
  const byName = grouped(steps);
  const columns = columnsOf(byName);
  const count = 1 + Math.max(0, ...columns.values());
  /** @type {Map<string, Item>[]} By column, by the name of the step that the box, or the passage, belongs to. */
  const items = Array.from({ length: count }, () => new Map());
  for (const [name, parts] of byName) {
    const column = columns.get(name) ?? 0;
    const needs = (parts[0]?.needs ?? []).filter((need) => (columns.get(need) ?? Infinity) < column);
    items[column]?.set(name, { name, needs, height: BOX_HEIGHT, y: 0 });
    for (const need of needs) {
      for (let between = (columns.get(need) ?? 0) + 1; between < column; between += 1) {
        items[between]?.set(`passage ${need}`, { name: need, needs: [need], height: PASSAGE_HEIGHT, y: 0 });
      }
    }
  }
  const heights = items.map((column, index) => stack(column, items[index - 1]));
  const boxes = [...byName].map(([name, parts]) => {
    const column = columns.get(name) ?? 0;
    return { step: worst(parts), parts, column, y: items[column]?.get(name)?.y ?? 0 };
  });
  const arrows = [...byName.keys()].flatMap((name) => arrowsTo(name, columns, items));
  return { boxes, arrows, width: count * (BOX_WIDTH + GAP_X) - GAP_X, height: Math.max(0, ...heights) };
}

/** @param {Step[]} steps @returns {Map<string, [Step, ...Step[]]>} */
function grouped(steps) {
  /** @type {Map<string, [Step, ...Step[]]>} */
  const byName = new Map();
  for (const step of steps) {
    const parts = byName.get(step.step);
    if (parts) parts.push(step);
    else if (byName.size < STEPS_MAX) byName.set(step.step, [step]);
  }
  return byName;
}

/** @param {Map<string, Step[]>} byName @returns {Map<string, number>} */
function columnsOf(byName) {
  /** @type {Map<string, number>} */
  const columns = new Map();
  /** @param {string} name @param {Set<string>} above @returns {number} */
  const columnOf = (name, above) => {
    const known = columns.get(name);
    if (known !== undefined) return known;
    // No pipeline has a circle; what says so is drawn as if the last arrow were not there.
    if (above.has(name)) return -1;
    above.add(name);
    let column = 0;
    for (const need of byName.get(name)?.[0]?.needs ?? []) if (byName.has(need)) column = Math.max(column, columnOf(need, above) + 1);
    above.delete(name);
    columns.set(name, column);
    return column;
  };
  for (const name of byName.keys()) columnOf(name, new Set());
  return columns;
}

/**
 * Put a column's items below each other, each as near to what it comes from as the others let it.
 *
 * @param {Map<string, Item>} column
 * @param {Map<string, Item> | undefined} before
 * @returns {number} Where the last one ends.
 */
function stack(column, before) {
  const wanted = (/** @type {Item} */ item) => {
    const from = item.needs.flatMap((need) => before?.get(need) ?? before?.get(`passage ${need}`) ?? []);
    return from.length ? from.reduce((sum, each) => sum + each.y + each.height / 2, 0) / from.length : Infinity;
  };
  const order = [...column.values()].sort((one, other) => {
    const difference = wanted(one) - wanted(other);
    return Number.isNaN(difference) ? 0 : difference;
  });
  let y = 0;
  for (const item of order) {
    item.y = y;
    y += item.height + GAP_Y;
  }
  return y - GAP_Y;
}

/** @param {string} name @param {Map<string, number>} columns @param {Map<string, Item>[]} items @returns {Arrow[]} */
function arrowsTo(name, columns, items) {
  const column = columns.get(name) ?? 0;
  const box = items[column]?.get(name);
  return (box?.needs ?? []).map((need) => {
    const first = columns.get(need) ?? 0;
    /** @type {[number, number][]} */
    const points = [];
    for (let at = first; at <= column; at += 1) {
      const item = items[at]?.get(at === first ? need : at === column ? name : `passage ${need}`);
      const y = (item?.y ?? 0) + (item?.height ?? 0) / 2;
      const left = at * (BOX_WIDTH + GAP_X);
      if (at > first) points.push([left, y]);
      if (at < column) points.push([left + BOX_WIDTH, y]);
    }
    return { from: need, to: name, points };
  });
}

/** @param {[Step, ...Step[]]} parts The one that failed, if one did. @returns {Step} */
function worst(parts) {
  return parts.find((part) => part.status === "failed") ?? parts[0];
}
