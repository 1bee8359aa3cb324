/** When the page is drawn: at most five times a second for what the fleet sends, at once for what the user does. */

const FRAME_MS_MIN = 200;
/** That many may follow each other at once: the fleet's own frames come a little early or late, and need not wait for that. */
const FRAMES_AT_ONCE = 2;
/** A little longer than the fleet's own pace: of a busy one, what can wait goes with what comes. */
const LATER_MS = 250;

/** How many may be drawn now; grows by one in FRAME_MS_MIN. */
let allowance = FRAMES_AT_ONCE;
let countedAt = 0;
let asked = 0;
let timer = 0;
let later = 0;
/** @type {() => void} */
let draw = () => {};

/** @param {() => void} how Draws the whole page. */
export function drawBy(how) {
  draw = how;
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) drawSoon();
  });
}

/** For what the user did: with the next frame. */
export function drawNow() {
  if (!asked && !document.hidden) asked = requestAnimationFrame(frame);
}

/** For what the fleet did: joined with whatever else comes before its turn; nothing while nobody looks. */
export function drawSoon() {
  if (timer || asked || document.hidden) return;
  count();
  if (allowance >= 1) drawNow();
  else timer = setTimeout(drawNow, (1 - allowance) * FRAME_MS_MIN);
}

/** For what can wait a moment, as that a second has passed: with the next frame, and without one by itself. */
export function drawLater() {
  if (!later && !document.hidden) later = setTimeout(lateNow, LATER_MS);
}

function lateNow() {
  later = 0;
  drawSoon();
}

function frame() {
  asked = 0;
  clearTimeout(timer);
  clearTimeout(later);
  timer = later = 0;
  count();
  allowance = Math.max(0, allowance - 1);
  draw();
}

function count() {
  const now = performance.now();
  allowance = Math.min(FRAMES_AT_ONCE, allowance + (now - countedAt) / FRAME_MS_MIN);
  countedAt = now;
}
