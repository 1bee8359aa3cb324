/** What stands where data would: loading, empty, refused, broken. Each says what it is and what to do next. */

import { h } from "../core/render.js";
import { app } from "../core/state.js";

/** @typedef {import("../core/render.js").Child} Child */

/** @param {string} title @param {...Child} more */
export function empty(title, ...more) {
  return h("div", { class: "state" }, h("p", { class: "state-title" }, title), more.length ? h("p", null, more) : null);
}

export function loading() {
  return h("div", { class: "state", role: "status" }, h("p", { class: "dim" }, "Loading…"));
}

/** @param {import("../core/server.js").ServerError} error */
export function refused(error) {
  if (error.status === 403 && app.session?.signed_in === false && app.session.sign_in.length) {
    return h(
      "div",
      { class: "state", role: "alert" },
      h("p", { class: "state-title" }, "Sign in to see this"),
      h("p", { class: "dim" }, "It is read with the credentials of who looks, not with the portal's own."),
      app.session.sign_in.includes("proxy") ? null : h("p", null, h("a", { class: "button", href: "#/sign-in" }, "Sign in")),
    );
  }
  if (error.status === 403) {
    return h(
      "div",
      { class: "state", role: "alert" },
      h("p", { class: "state-title" }, "Not for this role"),
      h("p", null, error.message),
      h("p", { class: "dim" }, "Sign in with a token that may; ask whoever runs the fleet for one."),
    );
  }
  const title = { 0: "The portal does not answer", 404: "Not found", 429: "Too many requests", 503: "Not available now" }[error.status];
  return h(
    "div",
    { class: "state", role: "alert" },
    h("p", { class: "state-title" }, title ?? "That did not work"),
    h("p", null, error.message),
    error.status === 404 ? null : h("p", { class: "dim" }, "It is tried again every few seconds."),
  );
}

/**
 * A resource's data, or what stands in its place.
 *
 * @param {import("../core/resource.js").Resource} found
 * @param {(data: any) => Child} shown
 * @returns {Child}
 */
export function whenLoaded(found, shown) {
  if (found.data !== null) {
    const stale = found.error ? h("p", { class: "notice warn", role: "status" }, `Not up to date: ${found.error.message}`) : null;
    return [stale, shown(found.data)];
  }
  return found.error ? refused(found.error) : loading();
}
