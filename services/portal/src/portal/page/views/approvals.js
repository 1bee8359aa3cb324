/** What waits for a person's word: exactly what would leave, who asked, until when; granted or denied with a comment. */

import { ago, wholeText } from "../core/format.js";
import { drawNow } from "../core/frames.js";
import { go, link } from "../core/place.js";
import { h } from "../core/render.js";
import { forget, resource } from "../core/resource.js";
import { path, request } from "../core/server.js";
import { app, may } from "../core/state.js";
import { confirm } from "../parts/dialog.js";
import { empty, whenLoaded } from "../parts/states.js";
import { table } from "../parts/table.js";
import { classTag, tag, zoneTags } from "../parts/words.js";

/** @import { Approval } from "../contract.js" */

const AGE_MS = 3000;
const COMMENT_CHARS_MAX = 1000;
/** As redaction writes them: `[PERSON_12_KQXRT]`. */
const PLACEHOLDER = /(\[[A-Z]{2,16}_\d{1,7}_[A-Z]{5}\])/;

let comment = "";
/** What was decided last from this page, and by whom. @type {{ words: string, by: string | undefined, approval: Approval } | null} */
let decided = null;

export const title = "Approvals";

/** @param {import("../core/place.js").Place} place */
export function view(place) {
  const [id] = place.parts;
  return id ? one(id) : list();
}

function list() {
  return h(
    "section",
    { class: "panel", "aria-labelledby": "approvals-title" },
    h("h2", { id: "approvals-title" }, "Approvals ", h("small", null, "nothing of these has left")),
    whenLoaded(resource("/api/approvals", AGE_MS), (data) => {
      /** @type {Approval[]} */
      const approvals = data.approvals;
      if (!approvals.length) return [decidedLast(), empty("Nothing waits", "A task that needs a person's word is here until it is granted, denied or expired.")];
      return [decidedLast(), table(
        "Approvals that wait",
        [
          { head: "task", class: "mono first" },
          { head: h("span", { class: "unseen" }, "what to do") },
          { head: "step" },
          { head: "capability" },
          { head: "state" },
          { head: "data" },
          { head: "to" },
          { head: "asked by" },
          { head: "expires", class: "r" },
        ],
        approvals.map((approval) => ({
          key: approval.id,
          cells: [
            h("bdi", { class: "cut id", title: approval.run || approval.task || approval.id }, approval.run || approval.task || approval.id),
            h("a", { class: "button", href: link(["approvals", approval.id]), "aria-label": `Read and decide: ${approval.capability} of ${approval.run || approval.task}` }, may("decide") ? "Read and decide" : "Read"),
            h("bdi", null, approval.step || "–"),
            h("bdi", null, approval.capability),
            tag(approval.status || "pending"),
            classTag(approval.data_class),
            zoneTags(approval.zones),
            h("bdi", null, approval.submitted_by || "–"),
            ago(approval.expires_unix_ms),
          ],
        })),
      )];
    }),
  );
}

/** With the way to the task, which goes on or has failed by it. */
function decidedLast() {
  if (!decided || decided.by !== app.session?.name) return null;
  const { scope, run, task = "" } = decided.approval;
  const name = run || task;
  return h("p", { key: "decided", class: "notice ok", role: "status" }, `${decided.words}: `, h("bdi", null, decided.approval.capability), scope && name ? [" of ", h("a", { href: link(["tasks", scope, name]) }, h("bdi", null, name))] : null);
}

/** @param {string} id */
function one(id) {
  return h(
    "div",
    { class: "stack" },
    h("p", { class: "trail" }, h("a", { href: "#/approvals" }, "Approvals"), " / ", h("bdi", { class: "mono" }, id)),
    whenLoaded(resource(`/api/approvals${path(id)}`, AGE_MS), (/** @type {Approval} */ approval) => [
      h(
        "section",
        { class: "panel" },
        h("h2", { class: "title" }, h("bdi", null, approval.capability), approval.step ? h("bdi", { class: "dim" }, ` · ${approval.step}`) : null, " ", tag(approval.status || "pending")),
        facts(approval),
      ),
      h(
        "section",
        { class: "panel", "aria-labelledby": "payload-title" },
        h("h2", { id: "payload-title" }, "What would leave ", h("small", null, "all of it; placeholders are marked")),
        h("pre", { class: "document payload", tabindex: "0" }, marked(wholeText(approval.payload ?? ""))),
      ),
      (approval.status || "pending") === "pending" ? decision(approval) : null,
    ]),
  );
}

/** @param {Approval} approval */
function facts(approval) {
  /** @type {[string, import("../core/render.js").Child][]} */
  const list = [
    ["scope", approval.scope],
    ["task", approval.scope && (approval.run || approval.task) ? h("a", { class: "mono", href: link(["tasks", approval.scope, approval.run || approval.task || ""]) }, h("bdi", null, approval.run || approval.task)) : "–"],
    ["data class", classTag(approval.data_class)],
    ["goes to", zoneTags(approval.zones)],
    ["asked by", approval.submitted_by || "–"],
    ["group", approval.group || "–"],
    ["asked", ago(approval.created_unix_ms)],
    ["expires", ago(approval.expires_unix_ms)],
    ["SHA-256", h("span", { class: "mono" }, approval.digest || "–")],
  ];
  if (approval.decided_by) list.push(["decided by", approval.decided_by], ["comment", approval.comment || "–"]);
  return h("dl", { class: "facts" }, list.map(([name, value]) => h("div", { key: name }, h("dt", null, name), h("dd", { class: "data" }, value))));
}

/** @param {string} text @returns {import("../core/render.js").Child} */
function marked(text) {
  return text.split(PLACEHOLDER).map((part, index) => (index % 2 ? h("mark", { title: "A placeholder: the value stays local" }, part) : part));
}

/** @param {Approval} approval */
function decision(approval) {
  if (!may("decide")) {
    return h("section", { class: "panel" }, empty("An approver decides", "Sign in with an approver's token to grant or deny it."));
  }
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "Decide"),
    h(
      "label",
      { class: "field" },
      h("span", null, "Comment, kept with the decision"),
      h("textarea", {
        rows: 2,
        maxlength: COMMENT_CHARS_MAX,
        value: comment,
        oninput: (/** @type {Event} */ event) => {
          comment = /** @type {HTMLTextAreaElement} */ (event.target).value;
        },
      }),
    ),
    h(
      "p",
      { class: "actions" },
      h("button", { type: "button", class: "danger", onclick: () => ask(approval, "deny", "Deny it?", "The task fails, and nothing leaves.") }, "Deny"),
      h(
        "button",
        { type: "button", class: "primary", onclick: () => ask(approval, "grant", "Let it leave?", `Exactly what is shown goes to ${(approval.zones ?? ["the cloud"]).join(" or ")}. This cannot be taken back.`) },
        "Grant",
      ),
    ),
  );
}

/**
 * Decide on exactly what was shown: the digest goes along, and another payload under the same id is refused.
 *
 * @param {Approval} approval
 * @param {"grant" | "deny"} what
 * @param {string} heading
 * @param {string} text
 */
function ask(approval, what, heading, text) {
  const { id, digest } = approval;
  confirm({
    title: heading,
    text,
    action: what === "grant" ? "Grant" : "Deny",
    danger: what === "deny",
    run: async () => {
      await request(`/api/approvals${path(id)}`, { method: "POST", body: { decision: what, comment, digest } });
      comment = "";
      decided = { words: what === "grant" ? "Granted" : "Denied", by: app.session?.name, approval };
      forget("/api/approvals");
      go(link(["approvals"]));
      drawNow();
    },
  });
}
