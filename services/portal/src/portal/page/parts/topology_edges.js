/** The arrows of the topology: drawn behind the boxes, from where the browser has put one to where it has put the next. */

import { h } from "../core/render.js";

/** @type {Element | null} */
let picture = null;
/** The places may change with every drawing, and with the window. */
const watched = new ResizeObserver(() => placeEdges());

/**
 * @param {Map<string, number>} flows Tasks per second by pool, as `zone/name`.
 * @param {number} all Tasks per second from the callers.
 */
export function edgesOf(flows, all) {
  const edges = [{ from: "callers", to: "orchestrators", flow: all }];
  for (const [pool, flow] of flows) edges.push({ from: "orchestrators", to: pool, flow });
  queueMicrotask(placeEdges);
  return h(
    "svg",
    { class: "edges", "aria-hidden": "true", ref: opened },
    edges.map(({ from, to, flow }) =>
      h(
        "g",
        { key: to, "data-from": from, "data-to": to, class: to.startsWith("cloud/") ? "cloud" : to.startsWith("local/") ? "local" : "in" },
        h("path", { class: `edge ${speed(flow)}`, "stroke-width": width(flow) }),
        h("path", { class: "tip" }),
      ),
    ),
  );
}

/** @param {Element} element */
function opened(element) {
  picture = element;
  watched.disconnect();
  queueMicrotask(() => element.parentElement && watched.observe(element.parentElement));
}

/** From a thread at nothing to 7 px at a thousand a second. @param {number} flow */
function width(flow) {
  return flow > 0 ? Math.min(7, 1.5 + 1.8 * Math.log10(1 + flow)).toFixed(2) : "1";
}

/** @param {number} flow */
function speed(flow) {
  if (flow <= 0) return "still";
  return flow < 1 ? "slow" : flow < 20 ? "middling" : "fast";
}

function placeEdges() {
  const map = picture?.parentElement;
  if (!picture?.isConnected || !map) return;
  const origin = map.getBoundingClientRect();
  /** @type {Map<string, DOMRect>} */
  const boxes = new Map();
  for (const node of map.querySelectorAll("[data-node]")) boxes.set(node.getAttribute("data-node") ?? "", node.getBoundingClientRect());
  for (const edge of picture.children) {
    const from = boxes.get(edge.getAttribute("data-from") ?? "");
    const to = boxes.get(edge.getAttribute("data-to") ?? "");
    edge.toggleAttribute("hidden", !from || !to);
    if (from && to) place(edge, from, to, origin);
  }
}

/** @param {Element} edge @param {DOMRect} from @param {DOMRect} to @param {DOMRect} origin */
function place(edge, from, to, origin) {
  const x1 = from.right - origin.left;
  const x2 = to.left - origin.left;
  const y2 = to.top + Math.min(to.height, 60) / 2 - origin.top;
  // Arrows leave a box where it faces their end, within its height.
  const y1 = Math.min(Math.max(y2, from.top - origin.top + 16), from.bottom - origin.top - 16);
  const middle = x1 + (x2 - x1) * 0.5;
  const [line, tip] = edge.children;
  line?.setAttribute("d", `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2 - 7} ${y2}`);
  tip?.setAttribute("d", `M${x2 - 8} ${y2 - 5}L${x2 - 1} ${y2}L${x2 - 8} ${y2 + 5}z`);
}
