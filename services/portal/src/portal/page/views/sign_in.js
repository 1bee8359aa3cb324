/** Who may look must say who they are, where the fleet asks for it: a token for a cookie. */

import { drawNow } from "../core/frames.js";
import { forgetAll } from "../core/resource.js";
import { h } from "../core/render.js";
import { request } from "../core/server.js";
import { app } from "../core/state.js";
import { follow, reopen, startAnew } from "../core/stream.js";

const TOKEN_CHARS_MAX = 4096;
const HERE = "#/sign-in";

/** Where the page is, and where somebody was who went from there to sign in. */
let now = location.hash;
let before = "";
addEventListener("hashchange", () => {
  if (location.hash.startsWith(HERE) && !now.startsWith(HERE)) before = now;
  now = location.hash;
});

let failure = "";
let isBusy = false;

export const title = "Sign in";

/** Where a sign-in at the provider begins; it ends at this view, or at the page. */
const PROVIDER = "/sign-in/start";

/** Where the session at the provider ends, after the one here. */
const PROVIDER_END = "/sign-in/end";

/** Why one there came to nothing, by the word behind `#/sign-in/`. @type {Record<string, string>} */
const CAME_TO_NOTHING = {
  stale: "That took too long, or was begun in another window. Sign in once more.",
  refused: "The provider did not sign you in, or what it said cannot be believed. Sign in once more, or ask whoever runs the fleet.",
  unknown_person: "The provider knows you, but nobody here has your name or one of your groups. Ask whoever runs the fleet.",
  unreachable: "The provider does not answer as it should. Try again in a minute, or ask whoever runs the fleet.",
  rate_limited: "Too many tries; wait a minute.",
};

/** @param {import("../core/place.js").Place} [where] */
export function view(where) {
  const ways = app.session?.sign_in ?? ["token"];
  const over = app.sessionEnded ? h("p", { key: "over", class: "notice bad sign-in", role: "alert" }, h("b", null, "Your session is over. "), "Sign in again to go on where you were.") : null;
  return [over, ...waysIn(where, ways)];
}

/** @param {import("../core/place.js").Place | undefined} where @param {string[]} ways */
function waysIn(where, ways) {
  const [why] = where?.view === "sign-in" ? where.parts : [];
  const came = (why && Object.hasOwn(CAME_TO_NOTHING, why) && CAME_TO_NOTHING[why]) || "";
  if (ways.includes("provider")) return [atProvider(came), ways.includes("token") ? withToken() : null];
  return [ways.includes("token") ? withToken() : elsewhere(ways)];
}

/** @param {string} came */
function atProvider(came) {
  return h(
    "section",
    { key: "provider", class: "panel sign-in" },
    h("h2", { class: "title" }, "Sign in"),
    h("p", { class: "dim" }, "At the provider that says who you are; it sends you back here."),
    came ? h("p", { class: "notice bad", role: "alert" }, came) : null,
    h("p", { class: "actions" }, app.session?.role ? h("a", { class: "button", href: "#/" }, "Only look") : null, h("button", { type: "button", class: "primary", onclick: () => location.assign(PROVIDER) }, "Sign in at the provider")),
  );
}

function withToken() {
  const isOnly = !app.session?.sign_in.includes("provider");
  return h(
    "form",
    { key: "token", class: "panel sign-in", onsubmit: signIn, autocomplete: "off" },
    h("h2", { class: "title" }, isOnly ? "Sign in" : "Or with a token"),
    h("p", { class: "dim" }, "With the token that whoever runs the fleet gave you. It is exchanged for a cookie and not kept here."),
    h("label", { class: "field" }, h("span", null, "Token"), h("input", { type: "password", name: "token", required: true, maxlength: TOKEN_CHARS_MAX, autocomplete: "current-password", spellcheck: "false" })),
    failure ? h("p", { class: "notice bad", role: "alert" }, failure) : null,
    h("p", { class: "actions" }, app.session?.role && isOnly ? h("a", { class: "button", href: "#/" }, "Only look") : null, h("button", { class: isOnly ? "primary" : null, disabled: isBusy }, "Sign in")),
  );
}

/** @param {string[]} ways */
function elsewhere(ways) {
  const words = ways.includes("proxy")
    ? "The proxy before this portal says who somebody is, and it has named nobody who may look. Sign in there, and load this page again; or ask whoever runs the fleet."
    : "Nobody can sign in here: whoever runs the fleet has named nobody.";
  return h("section", { class: "panel sign-in" }, h("h2", { class: "title" }, "Sign in"), h("p", { class: "dim" }, words));
}

/** @param {SubmitEvent} event */
async function signIn(event) {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target);
  const token = String(new FormData(form).get("token") ?? "").trim();
  isBusy = true;
  failure = "";
  drawNow();
  try {
    await request("/session", { method: "POST", body: { token } });
    form.reset();
    await changed();
    if (location.hash.startsWith(HERE)) location.hash = before || "#/";
  } catch (error) {
    failure = /** @type {Error} */ (error).message;
  } finally {
    isBusy = false;
    drawNow();
  }
}

export async function signOut() {
  const isOfProvider = app.session?.signed_in_by === "provider";
  try {
    await request("/session", { method: "DELETE" });
    if (isOfProvider) location.assign(PROVIDER_END);
  } finally {
    await changed();
  }
}

/** Somebody else looks now: nothing of what the one before saw stays. */
async function changed() {
  const wasOut = app.link === "signed_out";
  app.snapshot = null;
  app.events = [];
  app.session = null;
  app.sessionEnded = false;
  app.link = "connecting";
  startAnew();
  forgetAll();
  if (wasOut) void follow();
  else reopen();
}
