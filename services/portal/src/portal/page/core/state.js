/**
 * What the page knows: one object, changed in place, drawn as a whole.
 *
 * @import { FleetEvent, Session, Snapshot } from "../contract.js"
 * @typedef {"connecting" | "live" | "lost" | "signed_out" | "refused"} Link
 */

/** Of the event stream, newest first; older ones are dropped. */
export const EVENTS_MAX = 1000;

export const app = {
  /** @type {Session | null} */
  session: null,
  /** @type {Link} */
  link: "connecting",
  /** Somebody had signed in, and has not signed out: their session is over. */
  sessionEnded: false,
  /** What the server said when it refused, or nothing. */
  linkWords: "",
  /** By this machine's clock; when the stream last said anything. */
  heardAt: 0,
  /** @type {Snapshot | null} */
  snapshot: null,
  /** @type {FleetEvent[]} */
  events: [],
  /** How many events the server left out, since it sends 200 at a time at most. */
  eventsDropped: 0,
  /** The server's clock less this machine's, in milliseconds. */
  clockOffsetMs: 0,
};

/** The server's time now, in Unix milliseconds. */
export function nowMs() {
  return Date.now() + app.clockOffsetMs;
}

/** @param {Snapshot} snapshot */
export function takeSnapshot(snapshot) {
  app.snapshot = snapshot;
  app.clockOffsetMs = snapshot.at_unix_ms - Date.now();
}

/**
 * @param {{ events: FleetEvent[], dropped?: number }} batch In the order in which they happened.
 * @param {boolean} isFirst Of a connection: a server that was started anew tells again what is known here.
 */
export function takeEvents(batch, isFirst) {
  app.eventsDropped += batch.dropped ?? 0;
  let fresh = batch.events.slice(-EVENTS_MAX).reverse();
  if (isFirst && app.events.length) {
    const known = new Set(app.events.map(nameOf));
    fresh = fresh.filter((event) => !known.has(nameOf(event)));
  }
  app.events.unshift(...fresh);
  if (app.events.length > EVENTS_MAX) app.events.length = EVENTS_MAX;
}

/** @param {FleetEvent} event @returns {string} The same for the same event, told twice. */
function nameOf(event) {
  return JSON.stringify([event.scope, event.task, event.kind, event.step, event.at_unix_ms, event.replica]);
}

/** @param {keyof Session["can"]} what @returns {boolean} */
export function may(what) {
  return app.session?.can?.[what] === true;
}
