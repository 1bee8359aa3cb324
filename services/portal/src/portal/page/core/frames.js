/** When the page is drawn: at most five times a second for what the fleet sends, at once for what the user does. */

const FRAME_MS_MIN = 200;
/** After a pause that many may follow each other at once: events and the snapshot that they change come as two messages. */
const FRAMES_AT_ONCE = 2;

/** How many may be drawn now; grows by one in FRAME_MS_MIN. */
let allowance = FRAMES_AT_ONCE;
let countedAt = 0;
let asked = 0;
let timer = 0;
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

function frame() {
  asked = 0;
  clearTimeout(timer);
  timer = 0;
  count();
  allowance = Math.max(0, allowance - 1);
  draw();
}

function count() {
  const now = performance.now();
  allowance = Math.min(FRAMES_AT_ONCE, allowance + (now - countedAt) / FRAME_MS_MIN);
  countedAt = now;
}
