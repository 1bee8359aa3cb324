/** What of a text changes, line by line. */

import { h } from "../core/render.js";

/** @typedef {{ sign: "+" | "-" | " ", line: string }} DiffLine `-`: it was there; `+`: it will be. */

/** Of more lines than that on either side, beyond what begins and ends alike, every one is told as changed. */
const COMPARED_LINES_MAX = 600;
/** Of lines that stay, how many are shown before and after what changes. */
const CONTEXT_LINES = 2;

/** @param {string} before @param {string} after @returns {DiffLine[]} All lines of both, in order. */
export function compared(before, after) {
  const old = lines(before);
  const now = lines(after);
  let head = 0;
  while (head < old.length && head < now.length && old[head] === now[head]) head += 1;
  let tail = 0;
  while (tail < old.length - head && tail < now.length - head && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail += 1;
  const stays = (/** @type {string[]} */ texts) => texts.map((line) => /** @type {DiffLine} */ ({ sign: " ", line }));
  return [...stays(old.slice(0, head)), ...middle(old.slice(head, old.length - tail), now.slice(head, now.length - tail)), ...stays(old.slice(old.length - tail))];
}

/** @param {string} text */
function lines(text) {
  const found = text.split("\n");
  if (found.at(-1) === "") found.pop();
  return found;
}

/** By the longest sequence of lines that both have. @param {string[]} old @param {string[]} now @returns {DiffLine[]} */
function middle(old, now) {
  const width = now.length + 1;
  const isShort = old.length <= COMPARED_LINES_MAX && now.length <= COMPARED_LINES_MAX;
  const common = new Uint16Array(isShort ? (old.length + 1) * width : 0);
  const at = (/** @type {number} */ one, /** @type {number} */ other) => common[one * width + other] ?? 0;
  if (isShort) {
    for (let one = old.length - 1; one >= 0; one -= 1) {
      for (let other = now.length - 1; other >= 0; other -= 1) {
        common[one * width + other] = old[one] === now[other] ? at(one + 1, other + 1) + 1 : Math.max(at(one + 1, other), at(one, other + 1));
      }
    }
  }
  /** @type {DiffLine[]} */
  const found = [];
  let one = 0;
  let other = 0;
  while (one < old.length || other < now.length) {
    const [gone, come] = [old[one], now[other]];
    if (isShort && gone !== undefined && gone === come) {
      found.push({ sign: " ", line: gone });
      one += 1;
      other += 1;
    } else if (gone !== undefined && (come === undefined || at(one + 1, other) >= at(one, other + 1))) {
      found.push({ sign: "-", line: gone });
      one += 1;
    } else {
      found.push({ sign: "+", line: come ?? "" });
      other += 1;
    }
  }
  return found;
}

/** @param {string} before @param {string} after */
export function diffView(before, after) {
  const all = compared(before, after);
  const isNear = all.map((_, index) => all.slice(Math.max(0, index - CONTEXT_LINES), index + CONTEXT_LINES + 1).some(({ sign }) => sign !== " "));
  const shown = all.flatMap((line, index) => (isNear[index] ? [lineView(line, index)] : isNear[index - 1] ? [h("span", { key: index, class: "dim" }, "  …")] : []));
  return h("pre", { class: "document diff", tabindex: "0", "aria-label": "What changes" }, shown.length ? shown : "Nothing changes.");
}

/** @param {DiffLine} line @param {number} index */
function lineView({ sign, line }, index) {
  const text = `${sign} ${line}`;
  if (sign === " ") return h("span", { key: index }, text);
  return h(sign === "+" ? "ins" : "del", { key: index }, text);
}
