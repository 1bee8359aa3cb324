/** The page: its frame, its views, its keys. */

import { ago, count } from "./core/format.js";
import { drawBy, drawLater, drawNow } from "./core/frames.js";
import { go, place } from "./core/place.js";
import { h, render } from "./core/render.js";
import { app } from "./core/state.js";
import { follow } from "./core/stream.js";
import { dialogs, toggleHelp } from "./parts/dialog.js";
import { empty } from "./parts/states.js";
import * as approvals from "./views/approvals.js";
import * as blackboard from "./views/blackboard.js";
import * as deadLetters from "./views/dead_letters.js";
import * as events from "./views/events.js";
import * as experiments from "./views/experiments.js";
import * as overview from "./views/overview.js";
import * as routes from "./views/routes.js";
import * as signIn from "./views/sign_in.js";
import * as spend from "./views/spend.js";
import * as tasks from "./views/tasks.js";

/** @typedef {{ title: string, view: (place: import("./core/place.js").Place) => import("./core/render.js").Child }} View */

/** In the order of the tabs; the key goes there after `g`. @type {[string, View, string][]} */
const VIEWS = [
  ["overview", overview, "o"],
  ["tasks", tasks, "t"],
  ["routes", routes, "r"],
  ["approvals", approvals, "a"],
  ["dead", deadLetters, "d"],
  ["blackboard", blackboard, "b"],
  ["events", events, "e"],
  ["spend", spend, "s"],
  ["experiments", experiments, "x"],
];
const SEQUENCE_MS_MAX = 1500;

let goAt = -Infinity;
let drawnHash = "";

function draw() {
  const now = place();
  const found = VIEWS.find(([name]) => name === now.view)?.[1];
  const isOut = app.link === "signed_out" || now.view === "sign-in";
  const title = isOut ? "Sign in" : (found?.title ?? "Not found");
  document.title = `${title} · Flotilla`;
  const root = document.getElementById("app");
  if (!root) return;
  render(root, [
    header(now.view, isOut),
    banner(),
    h(
      "main",
      { key: `main ${isOut ? "sign-in" : [now.view, ...now.parts].join("/")}`, id: "content", tabindex: "-1" },
      h("h1", { class: "unseen" }, title),
      isOut ? signIn.view(now) : found ? found.view(now) : empty("There is no such page", h("a", { href: "#/" }, "Overview")),
    ),
    dialogs(),
  ]);
  const hash = [now.view, ...now.parts].join("/");
  if (hash !== drawnHash) arrived();
  drawnHash = hash;
}

/** At the head of the view, and with its tab in sight where not all of them are. */
function arrived() {
  if (drawnHash) scrollTo(0, 0);
  const tab = /** @type {HTMLElement | null} */ (document.querySelector("header nav [aria-current]"));
  if (tab?.parentElement) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - 40;
}

/** @param {string} current @param {boolean} isOut */
function header(current, isOut) {
  const waiting = app.snapshot?.needs_you ?? [];
  return h(
    "header",
    { key: "header" },
    h("a", { class: "skip", href: location.hash || "#/", onclick: skip }, "To the content"),
    h("a", { class: "brand", href: "#/" }, "Flotilla"),
    h(
      "nav",
      { "aria-label": "Views" },
      isOut
        ? null
        : VIEWS.map(([name, view]) => {
            const there = waiting.filter((need) => need.href?.startsWith(`#/${name}`) && need.severity !== "info");
            const needing = there.reduce((sum, need) => sum + need.count, 0);
            return h("a", { key: name, href: `#/${name}`, "aria-current": current === name ? "page" : null }, view.title, needing ? h("span", { class: "n", "aria-label": `${count(needing)} need you` }, count(needing)) : null);
          }),
    ),
    h("span", { class: "who" }, linkState(), person(), h("button", { type: "button", class: "quiet", title: "Light or dark", "aria-label": `Colours: ${themeName()}. Change them.`, onclick: nextTheme }, themeSign())),
  );
}

function linkState() {
  const isStale = app.link === "live" && app.snapshot?.connected === false;
  const [tone, text] = isStale
    ? ["bad", "no NATS"]
    : /** @type {[string, string]} */ ({ live: ["ok", "live"], connecting: ["quiet", "connecting"], lost: ["bad", "disconnected"], signed_out: ["quiet", "signed out"], refused: ["bad", "refused"] }[app.link]);
  return h("span", { class: `link ${tone}-text`, role: "status" }, h("i", { "aria-hidden": "true" }), text);
}

function person() {
  const session = app.session;
  if (!session) return null;
  if (!session.signed_in) return session.role && (session.sign_in.includes("token") || session.sign_in.includes("provider")) ? h("a", { class: "quiet", href: "#/sign-in" }, "Sign in") : null;
  return [h("span", { class: "dim cut", title: session.name }, h("bdi", null, session.name), ` · ${session.role}`), session.signed_in_by === "proxy" ? null : h("button", { type: "button", class: "quiet", onclick: () => void signIn.signOut() }, "Sign out")];
}

/** What stands above every view while its figures are old. */
function banner() {
  if (app.link === "refused") return h("div", { key: "banner", class: "banner bad", role: "alert" }, h("b", null, "Not for this role. "), app.linkWords);
  if (app.link === "lost") {
    const old = app.snapshot ? [" Figures are from ", ago(app.heardAt + app.clockOffsetMs), "."] : null;
    return h("div", { key: "banner", class: "banner bad", role: "alert" }, h("b", null, "Disconnected from the portal. "), app.linkWords, old, " Trying again by itself.");
  }
  if (app.sessionEnded && app.session?.role && place().view !== "sign-in") {
    return h("div", { key: "banner", class: "banner bad", role: "alert" }, h("b", null, "Your session is over. "), "You still may look; ", h("a", { href: "#/sign-in" }, "sign in again"), " to go on where you were.");
  }
  if (app.link === "live" && app.snapshot?.connected === false) {
    return h("div", { key: "banner", class: "banner bad", role: "alert" }, h("b", null, "The portal has lost NATS. "), "What stands here is what it last knew; it connects again by itself.");
  }
  return null;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

function themeName() {
  return document.documentElement.dataset.theme ?? "as the system";
}

function themeSign() {
  return { light: "☀", dark: "☾" }[document.documentElement.dataset.theme ?? ""] ?? "◐";
}

function nextTheme() {
  const order = ["", "light", "dark"];
  const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "") + 1) % order.length];
  try {
    if (next) localStorage.setItem("flotilla-theme", next);
    else localStorage.removeItem("flotilla-theme");
  } catch {
    // Storage may be forbidden; then the choice holds until the page is closed.
  }
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  drawNow();
}

/** @param {KeyboardEvent} event */
function keyed(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (target.matches("input, select, textarea")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const after = performance.now() - goAt < SEQUENCE_MS_MAX;
  goAt = -Infinity;
  if (after) {
    const view = VIEWS.find(([, , key]) => key === event.key)?.[0];
    if (view) go(`#/${view}`);
  } else if (event.key === "g") goAt = performance.now();
  else if (event.key === "?") toggleHelp();
  else if (event.key === "p" && place().view === "events") events.togglePause();
  else if (event.key === "/") {
    const search = /** @type {HTMLElement | null} */ (document.querySelector("[data-search]"));
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
}

drawBy(draw);
addEventListener("hashchange", drawNow);
addEventListener("keydown", keyed);
// Relative times go on, and what has become old is asked for again.
setInterval(drawLater, 1000);
drawNow();
void follow();
