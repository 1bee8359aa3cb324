/**
 * Lines over the last hour, as SVG. Gaps are gaps: what was not measured is not drawn, and times of which the portal knows nothing are shaded.
 *
 * @typedef {{ name: string, tone: string, values: (number | null | undefined)[] }} Line `tone` is a class: `p50`, `p95`...
 * @typedef {{ title: string, hour: Hour, at_unix_s: number[], lines: Line[], format: (value: number) => string, guard?: number | null,
 *   floor?: number, ceiling?: number, moves?: { at_unix_s: number, words: string }[] }} PlotData `guard`: a dashed line; `floor`: the least that
 *   the axis reaches; `ceiling`: what it ends at; `moves`: what is marked.
 * @typedef {Pick<import("../contract.js").History, "from_unix_s" | "until_unix_s" | "unseen" | "told" | "step_s">} Hour
 */

import { ago, clock, isKnown, UNKNOWN } from "../core/format.js";
import { drawNow } from "../core/frames.js";
import { h } from "../core/render.js";

const HEIGHT = 150;
const LEFT = 58;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 22;
const TICKS = 3;
/** Of a scale that ends at a given value: quarters of all. */
const CEILING_TICKS = 4;
/** Of a shorter time, minutes alone would be the same at both ends. */
const SECONDS_SHOWN_BELOW_S = 600;
/** One that is late is no gap. */
const GAP_STEPS = 2.5;
const TOLD_SHOWN_MAX = 3;
const HOUR_S = 3600;
/** As in the style sheets: of `main`, and from where on two stand side by side. */
const PAGE_PX_MAX = 1560;
const TWO_FROM_PX = 860;
const WIDTH_PX_MIN = 240;

/** Which point is under the pointer, by the plot's title. @type {Map<string, number>} */
const pointed = new Map();

/** @param {PlotData} data */
export function plot(data) {
  const points = data.at_unix_s.length;
  const at = pointed.get(data.title);
  const index = at !== undefined && at < points ? at : points - 1;
  return h(
    "figure",
    { class: "plot", key: data.title },
    h("figcaption", null, h("span", { class: "plot-title" }, data.title), legend(data, index, at !== undefined)),
    points ? picture(data, at) : h("p", { class: "dim plot-empty" }, isWhole(data.hour) ? "Nothing was measured in the last hour." : "Nothing was measured yet."),
  );
}

/** Under plots: why they do not reach back an hour, what tokens are missing of, and what is shaded. @param {Hour} hour */
export function plotNote(hour) {
  const known = [ago(hour.from_unix_s * 1000), ": of routes nothing is known before that. "];
  const begins = isWhole(hour) ? null : [hour.told.length ? "The fleet's events reach back to " : "This portal began ", known];
  const spans = hour.told.slice(-TOLD_SHOWN_MAX).map((span) => `${clock(span.from_unix_s * 1000)} to ${clock(span.until_unix_s * 1000)}`);
  const told = spans.length ? `From ${spans.join(" and ")} the portal did not see the routes itself: events tell of tasks, latency, errors and cost, and not of tokens. ` : null;
  const shaded = hour.unseen.length ? "What is shaded it could not see, since it had lost NATS." : null;
  return begins || told || shaded ? h("p", { class: "dim plot-note", key: "note" }, begins, told, shaded) : null;
}

/** @param {Hour} hour */
function isWhole(hour) {
  return hour.until_unix_s - hour.from_unix_s >= HOUR_S;
}

/** @param {PlotData} data @param {number} index @param {boolean} isPointed */
function legend(data, index, isPointed) {
  const at = data.at_unix_s[index];
  return h(
    "span",
    { class: "legend" },
    data.lines.map((line) => {
      const value = line.values[index];
      return h("span", { class: `key ${line.tone}` }, h("bdi", null, line.name), " ", h("b", null, isKnown(value) ? data.format(value) : UNKNOWN));
    }),
    isKnown(data.guard) ? h("span", { class: "key guard" }, "guard ", h("b", null, data.format(data.guard))) : null,
    at === undefined ? null : h("span", { class: "dim" }, !isPointed && data.hour.until_unix_s - at <= GAP_STEPS * data.hour.step_s ? "now" : clock(at * 1000)),
  );
}

/** About as wide as it is shown, so that its letters are as large as those around it. */
function widthNow() {
  const window_px = Math.min(document.documentElement.clientWidth, PAGE_PX_MAX);
  return Math.round(window_px < TWO_FROM_PX ? Math.max(WIDTH_PX_MIN, window_px - 66) : (window_px - 98) / 2);
}

/** @param {PlotData} data @param {number | undefined} at */
function picture(data, at) {
  const width = widthNow();
  const { from_unix_s: first, until_unix_s: last } = data.hour;
  const top = scaleTop(data);
  const ticks = data.ceiling ? CEILING_TICKS : TICKS;
  const x = (/** @type {number} */ second) => LEFT + Math.min(1, Math.max(0, (second - first) / Math.max(1, last - first))) * (width - LEFT - RIGHT);
  const y = (/** @type {number} */ value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const spoken = data.lines.map((line) => `${line.name} ${lastOf(line, data.format)}`).join(", ");
  const pointedAt = at === undefined ? undefined : data.at_unix_s[at];
  return h(
    "svg",
    {
      viewBox: `0 0 ${width} ${HEIGHT}`,
      role: "img",
      "aria-label": `${data.title} over the last hour; last ${spoken}`,
      onpointermove: (/** @type {PointerEvent} */ event) => point(data, event, first, last),
      onpointerleave: () => {
        pointed.delete(data.title);
        drawNow();
      },
    },
    data.hour.unseen.map((span) =>
      h("rect", { class: "unseen-span", key: span.from_unix_s, x: x(span.from_unix_s), y: TOP, width: x(span.until_unix_s) - x(span.from_unix_s), height: HEIGHT - TOP - BOTTOM }, h("title", null, "not known: the portal had lost NATS")),
    ),
    Array.from({ length: ticks + 1 }, (_, tick) => {
      const value = (top / ticks) * tick;
      return [
        h("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        h("text", { class: "axis", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, tick ? data.format(value) : "0"),
      ];
    }),
    [first, (first + last) / 2, last].map((second, index) =>
      h(
        "text",
        { class: "axis", x: x(second), y: HEIGHT - 5, "text-anchor": ["start", "middle", "end"][index] ?? "middle" },
        last - first < SECONDS_SHOWN_BELOW_S ? clock(second * 1000) : clock(second * 1000).slice(0, 5),
      ),
    ),
    isKnown(data.guard) && data.guard <= top
      ? h("line", { class: "guard", x1: LEFT, x2: width - RIGHT, y1: y(data.guard), y2: y(data.guard) })
      : null,
    (data.moves ?? [])
      .filter((move) => move.at_unix_s >= first && move.at_unix_s <= last)
      .map((move, key) =>
        h("g", { class: "move", key: `move ${key}` }, h("title", null, `${clock(move.at_unix_s * 1000)} ${move.words}`), h("line", { x1: x(move.at_unix_s), x2: x(move.at_unix_s), y1: TOP, y2: HEIGHT - BOTTOM }), h("path", { d: `M${x(move.at_unix_s).toFixed(1)} ${TOP}l-4 -7h8z` })),
      ),
    data.lines.map((line) => {
      const drawn = way(data.at_unix_s, line.values, x, y, data.hour.step_s);
      return [h("path", { class: `line ${line.tone}`, d: drawn.lines }), drawn.dots ? h("path", { class: `line dots ${line.tone}`, d: drawn.dots }) : null];
    }),
    pointedAt === undefined ? null : h("line", { class: "pointed", x1: x(pointedAt), x2: x(pointedAt), y1: TOP, y2: HEIGHT - BOTTOM }),
  );
}

/** @param {PlotData} data @returns {number} A round number that is above every value. */
function scaleTop(data) {
  if (data.ceiling) return data.ceiling;
  let most = Math.max(data.floor ?? 0, isKnown(data.guard) ? data.guard : 0);
  for (const line of data.lines) for (const value of line.values) if (isKnown(value) && value > most) most = value;
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most / TICKS));
  const step = [1, 1.5, 2, 3, 5, 10].find((each) => each * power * TICKS >= most) ?? 10;
  return step * power * TICKS;
}

/**
 * @param {number[]} seconds
 * @param {(number | null | undefined)[]} values
 * @param {(second: number) => number} x
 * @param {(value: number) => number} y
 * @param {number} step_s Between points that were measured one after the other.
 */
function way(seconds, values, x, y, step_s) {
  /** @type {string[][]} */
  const pieces = [];
  let drawing = false;
  seconds.forEach((second, index) => {
    const value = values[index];
    if (index && second - (seconds[index - 1] ?? 0) > GAP_STEPS * step_s) drawing = false;
    if (isKnown(value)) {
      const at = `${x(second).toFixed(1)} ${y(value).toFixed(1)}`;
      if (drawing) pieces.at(-1)?.push(at);
      else pieces.push([at]);
    }
    drawing = isKnown(value);
  });
  // A point between two gaps is a dot: a line of no length with round ends.
  const dots = pieces.filter((piece) => piece.length === 1).map(([at]) => `M${at}h0`);
  const lines = pieces.filter((piece) => piece.length > 1).map((piece) => `M${piece.join("L")}`);
  return { lines: lines.join(""), dots: dots.join("") };
}

/** @param {Line} line @param {(value: number) => string} format */
function lastOf(line, format) {
  const value = line.values.at(-1);
  return isKnown(value) ? format(value) : "not known";
}

/** @param {PlotData} data @param {PointerEvent} event @param {number} first @param {number} last */
function point(data, event, first, last) {
  const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
  const width = widthNow();
  const inPicture = ((event.clientX - box.left) / box.width) * width;
  const second = first + ((inPicture - LEFT) / (width - LEFT - RIGHT)) * (last - first);
  let nearest = 0;
  data.at_unix_s.forEach((each, index) => {
    if (Math.abs(each - second) < Math.abs((data.at_unix_s[nearest] ?? 0) - second)) nearest = index;
  });
  pointed.set(data.title, nearest);
  drawNow();
}
