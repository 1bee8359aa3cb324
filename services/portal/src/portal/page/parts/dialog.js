/** Questions before something is done that cannot be undone, and the list of keys. */

import { drawNow } from "../core/frames.js";
import { h } from "../core/render.js";

/**
 * @typedef {{ title: string, text: import("../core/render.js").Child, action: string, danger?: boolean,
 *   run: () => Promise<unknown> }} Question
 */

/** @type {Question | null} */
let question = null;
let isRunning = false;
let failure = "";
let helpIsOpen = false;

/** @param {Question} asked */
export function confirm(asked) {
  question = asked;
  failure = "";
  drawNow();
}

export function toggleHelp() {
  helpIsOpen = !helpIsOpen;
  drawNow();
}

const KEYS = [
  ["g then o t r a d b e s x", "overview, tasks, routes, approvals, dead letters, blackboard, events, spend, experiments"],
  ["/", "search or filter on this page"],
  ["p", "pause the events, and go on"],
  ["?", "these keys"],
  ["Esc", "close"],
];

export function dialogs() {
  if (question) return questionView(question);
  if (!helpIsOpen) return null;
  return h(
    "dialog",
    { key: "help", ref: opened, onclose: toggleHelp, "aria-labelledby": "help-title" },
    h("h2", { id: "help-title" }, "Keys"),
    h("dl", { class: "keys" }, KEYS.map(([key, what]) => [h("dt", null, h("kbd", null, key)), h("dd", null, what)])),
    h("form", { method: "dialog", class: "actions" }, h("button", null, "Close")),
  );
}

/** @param {Question} asked */
function questionView(asked) {
  return h(
    "dialog",
    { key: `question ${asked.title}`, ref: opened, onclose: close, "aria-labelledby": "question-title" },
    h("h2", { id: "question-title" }, asked.title),
    h("div", { class: "dialog-text" }, asked.text),
    failure ? h("p", { class: "notice bad", role: "alert" }, failure) : null,
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", onclick: close }, "Leave it"),
      h("button", { type: "button", class: asked.danger ? "danger" : "primary", disabled: isRunning, onclick: run }, asked.action),
    ),
  );
}

async function run() {
  const asked = question;
  if (!asked || isRunning) return;
  isRunning = true;
  failure = "";
  drawNow();
  try {
    await asked.run();
    question = null;
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
  } finally {
    isRunning = false;
    drawNow();
  }
}

function close() {
  if (isRunning) return;
  question = null;
  drawNow();
}

/** @param {HTMLDialogElement} dialog */
function opened(dialog) {
  // It is in the document only after this drawing.
  queueMicrotask(() => dialog.isConnected && dialog.showModal());
}
