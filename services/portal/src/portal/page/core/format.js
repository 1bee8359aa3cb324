/** Quantities as people read them, always with their unit; what is not known is a dash. */

import { h } from "./render.js";
import { nowMs } from "./state.js";

export const UNKNOWN = "–";

/** @param {unknown} value @returns {value is number} */
export function isKnown(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** @param {number} value @param {number} digits @returns {string} */
function fixed(value, digits) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {number | null | undefined} value @returns {string} `1,842` */
export function count(value) {
  return isKnown(value) ? fixed(value, 0) : UNKNOWN;
}

/** @param {number | null | undefined} value @returns {string} `340 ms`, `1.2 s`, `3 min 20 s` */
export function ms(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value < 0.05) return "0 ms";
  if (value < 10) return `${fixed(value, 1)} ms`;
  if (value < 1000) return `${fixed(value, 0)} ms`;
  if (value < 10_000) return `${fixed(value / 1000, 2)} s`;
  if (value < 60_000) return `${fixed(value / 1000, 1)} s`;
  return span(value / 1000);
}

/** @param {number} seconds @returns {string} `12 s`, `3 min 20 s`, `2 h 5 min`, `4 d` */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
  return `${Math.floor(minutes / 1440)} d`;
}

/** @param {number | null | undefined} value Per second. @returns {string} `3.8/s` */
export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value === 0) return "0/s";
  if (value < 0.1) return `${fixed(value * 60, 1)}/min`;
  return `${fixed(value, value < 100 ? 1 : 0)}/s`;
}

/** @param {number | null | undefined} value 0 to 1. @returns {string} `99.6 %` */
export function percent(value) {
  if (!isKnown(value)) return UNKNOWN;
  const hundredths = value * 100;
  // 99.96 % is not all of them.
  const shown = hundredths < 100 ? Math.min(hundredths, 99.9) : 100;
  return hundredths === 0 || shown === 100 ? `${shown} %` : `${fixed(shown, 1)} %`;
}

/** @param {number | null | undefined} value @returns {string} `$4.21`, `$0.0062` */
export function usd(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value === 0) return "$0";
  if (value < 0.0001) return "< $0.0001";
  return `$${fixed(value, value < 0.1 ? 4 : 2)}`;
}

/** @param {number | null | undefined} value @returns {string} `512 B`, `3.4 KB`, `12 MB` */
export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value < 1000) return `${fixed(value, 0)} B`;
  if (value < 1e6) return `${fixed(value / 1000, value < 10_000 ? 1 : 0)} KB`;
  return `${fixed(value / 1e6, value < 1e7 ? 1 : 0)} MB`;
}

/** @param {number} unixMs @returns {string} In the viewer's own time zone, to the millisecond. */
export function absolute(unixMs) {
  const at = new Date(unixMs);
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${clock(unixMs)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** @param {number} unixMs @returns {string} `14:02:07` */
export function clock(unixMs) {
  const at = new Date(unixMs);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

/** How long ago, or how long until, with the absolute time on hover. @param {number | null | undefined} unixMs */
export function ago(unixMs) {
  if (!isKnown(unixMs) || unixMs <= 0 || unixMs > 8.64e15) return h("span", { class: "dim" }, UNKNOWN);
  const seconds = (nowMs() - unixMs) / 1000;
  const words = seconds < -1 ? `in ${span(-seconds)}` : seconds < 1 ? "now" : `${span(seconds)} ago`;
  return h("time", { datetime: new Date(unixMs).toISOString(), title: absolute(unixMs) }, words);
}

/** Long texts are cut where they are shown, not where they are kept. */
const SHOWN_CHARS_MAX = 50_000;

/** @param {unknown} value Any JSON. @returns {string} A text as it is, anything else as indented JSON; all of it. */
export function wholeText(value) {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}

/** @param {unknown} value Any JSON. @returns {string} The same, cut where it is long. */
export function documentText(value) {
  const text = wholeText(value);
  if (text.length <= SHOWN_CHARS_MAX) return text;
  return `${text.slice(0, SHOWN_CHARS_MAX)}\n… and ${count(text.length - SHOWN_CHARS_MAX)} characters more`;
}

/** @param {string} word `half_open` @returns {string} `half open` */
export function words(word) {
  return word.replaceAll("_", " ");
}
