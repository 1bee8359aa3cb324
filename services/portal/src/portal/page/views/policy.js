/** The policy in force, its history; for an admin its check and its change. */

import { ago, documentText } from "../core/format.js";
import { drawNow } from "../core/frames.js";
import { h } from "../core/render.js";
import { forget, resource } from "../core/resource.js";
import { request } from "../core/server.js";
import { may } from "../core/state.js";
import { diffView } from "../parts/diff.js";
import { confirm } from "../parts/dialog.js";
import { empty, whenLoaded } from "../parts/states.js";
import { table } from "../parts/table.js";
import { tag } from "../parts/words.js";

/** @import { Policy, PolicyVersion } from "../contract.js" */

const AGE_MS = 10_000;
const TOML_CHARS_MAX = 256 * 1024;
const EXAMPLE = 'format = 1\n\n[default]\nroutes = [{ pool = "local" }, { pool = "cloud" }]';

/** What is being written; null while the one in force is only shown. @type {{ toml: string, revision: number } | null} */
let draft = null;
/** @type {{ tone: string, lines: string[] } | null} */
let verdict = null;
let isBusy = false;

export function policyView() {
  return h(
    "div",
    { class: "stack" },
    h("p", { class: "trail" }, h("a", { href: "#/routes" }, "Routes"), " / Policy"),
    whenLoaded(resource("/api/policy", AGE_MS), (/** @type {Policy} */ policy) => [
      h(
        "section",
        { class: "panel", "aria-labelledby": "policy-title" },
        h("h2", { id: "policy-title" }, policy.revision ? `Policy, revision ${policy.revision}` : "Policy"),
        draft ? editor(policy, draft) : shown(policy),
      ),
      history(policy),
    ]),
  );
}

/** @param {Policy} policy */
function shown(policy) {
  return [
    verdict ? verdictView(verdict) : null,
    policy.toml
      ? h("pre", { class: "document", tabindex: "0", "aria-label": "The policy in force" }, policy.toml)
      : empty("No policy is in force", "Every task may go to every route that its data class allows, the one with the most free slots first."),
    may("policy")
      ? h(
          "p",
          { class: "actions" },
          h(
            "button",
            { type: "button", onclick: () => begin(policy, policy.toml) },
            "Change it",
          ),
        )
      : h("p", { class: "facts-line dim" }, "An admin may change it here; anybody with the admin's credentials by ", h("code", null, "flotilla policy set FILE"), "."),
  ];
}

/** @param {Policy} policy @param {{ toml: string, revision: number }} writing */
function editor(policy, writing) {
  const isOld = policy.revision !== writing.revision;
  return [
    isOld ? h("p", { class: "notice warn", role: "alert" }, `Revision ${policy.revision} was put in force meanwhile: yours began with ${writing.revision} and will be refused.`) : null,
    h("textarea", {
      class: "document",
      "aria-label": "The new policy, TOML",
      rows: 16,
      spellcheck: "false",
      maxlength: TOML_CHARS_MAX,
      placeholder: EXAMPLE,
      value: writing.toml,
      oninput: (/** @type {Event} */ event) => {
        writing.toml = /** @type {HTMLTextAreaElement} */ (event.target).value;
        verdict = null;
        drawNow();
      },
    }),
    writing.toml === policy.toml ? null : [h("h3", { key: "changes", class: "facts-line" }, "What changes"), diffView(policy.toml, writing.toml)],
    verdict ? verdictView(verdict) : null,
    h(
      "p",
      { class: "actions" },
      h("button", { type: "button", disabled: isBusy, onclick: () => leave(null) }, "Leave it"),
      h("button", { type: "button", disabled: isBusy, onclick: () => void check(writing) }, "Check"),
      h("button", { type: "button", class: "primary", disabled: isBusy || isOld || writing.toml === policy.toml, onclick: () => put(writing) }, "Put in force"),
    ),
  ];
}

/** @param {{ tone: string, lines: string[] }} said */
function verdictView(said) {
  return h("div", { class: `notice ${said.tone}`, role: "status" }, said.lines.map((line, index) => h("p", { key: index, class: "data" }, line)));
}

/** Write a policy that begins as this text. @param {Policy} policy @param {string} toml */
function begin(policy, toml) {
  draft = { toml, revision: policy.revision };
  verdict = null;
  drawNow();
  document.getElementById("policy-title")?.scrollIntoView({ block: "center" });
}

/** @param {Policy} policy */
function history(policy) {
  const versions = policy.history ?? [];
  return h(
    "section",
    { class: "panel", "aria-labelledby": "versions-title" },
    h("h2", { id: "versions-title" }, "History"),
    versions.length
      ? table(
          "Versions of the policy, newest first",
          [{ head: "revision" }, { head: "state" }, { head: "by" }, { head: "when", class: "r when" }, { head: "document", class: "whole" }],
          versions.map((version) => ({
            key: version.revision,
            cells: [
              version.revision,
              version.revision === policy.revision ? tag("in force", "ok") : tag(version.deleted ? "none in force" : "before", "quiet"),
              version.author ? h("bdi", null, version.author) : h("span", { class: "dim none" }, "–"),
              ago(version.at_unix_ms),
              version.toml ? versionView(policy, version) : h("span", { class: "dim none" }, "–"),
            ],
          })),
        )
      : empty("No version is kept"),
    policy.revision && may("policy") ? h("p", { class: "facts-line note dim" }, "To have none in force again: ", h("code", null, "flotilla policy unset"), ".") : null,
  );
}

/** @param {Policy} policy @param {PolicyVersion} version */
function versionView(policy, { revision, toml = "" }) {
  const isBefore = revision !== policy.revision && toml !== policy.toml;
  return [
    h("details", { class: "version" }, h("summary", { "aria-label": `show revision ${revision}` }, "show"), h("pre", null, documentText(toml))),
    isBefore && may("policy") ? h("button", { type: "button", "aria-label": `Go back to revision ${revision}`, onclick: () => begin(policy, toml) }, "Go back") : null,
  ];
}

/** @param {{ toml: string }} writing */
async function check(writing) {
  isBusy = true;
  drawNow();
  try {
    const answer = await request("/api/policy/check", { method: "POST", body: { toml: writing.toml } });
    const warnings = warningsOf(answer);
    verdict = warnings.length ? { tone: "warn", lines: ["It may be put in force, but:", ...warnings] } : { tone: "ok", lines: ["Nothing is wrong with it."] };
  } catch (error) {
    const { message, faults } = /** @type {import("../core/server.js").ServerError} */ (error);
    verdict = { tone: "bad", lines: faults.length ? faults : message.split("\n") };
  } finally {
    isBusy = false;
    drawNow();
  }
}

/** @param {{ toml: string, revision: number }} writing */
function put(writing) {
  confirm({
    title: "Put this policy in force?",
    text: "Every orchestrator routes by it from the next task on. The one before stays in the history.",
    action: "Put in force",
    run: async () => {
      const answer = await request("/api/policy", { method: "PUT", body: { toml: writing.toml, revision: writing.revision } });
      leave({ tone: "ok", lines: [`Revision ${answer?.revision ?? ""} is in force.`, ...warningsOf(answer)] });
      forget("/api/policy");
      forget("/api/explain");
    },
  });
}

/** @param {{ tone: string, lines: string[] } | null} said */
function leave(said) {
  draft = null;
  verdict = said;
  drawNow();
}

/** @param {any} answer @returns {string[]} */
function warningsOf(answer) {
  return Array.isArray(answer?.warnings) ? answer.warnings.map(String) : [];
}
