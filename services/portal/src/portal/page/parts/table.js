/** Tables, and the way from one page of a hundred to the next. */

import { h } from "../core/render.js";

/**
 * @typedef {import("../core/render.js").Child} Child
 * @typedef {{ head: Child, class?: string }} Column `class`: `r` for figures, which have their name with them where a
 *   narrow window makes lines of the rows; `first` and `whole` for what has such a line of its own; `mono` for ids.
 */

/**
 * @param {string} caption For those who do not see the table.
 * @param {Column[]} columns
 * @param {{ key: string | number, cells: Child[], class?: string }[]} rows One cell for each column.
 */
export function table(caption, columns, rows) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      null,
      h("caption", { class: "unseen" }, caption),
      h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col", class: column.class ?? null }, column.head)))),
      h(
        "tbody",
        null,
        rows.map((row) =>
          h(
            "tr",
            { key: row.key, class: row.class ?? null },
            row.cells.map((cell, index) => cellView(columns[index], cell)),
          ),
        ),
      ),
    ),
  );
}

/** @param {Column | undefined} column @param {Child} cell */
function cellView(column, cell) {
  const isFigure = column?.class?.split(" ").includes("r") && typeof column.head === "string" && column.head;
  return h("td", { class: column?.class ?? null, "data-head": isFigure ? column?.head : null }, cell);
}

/**
 * @param {{ newest: string | null, older: string | null, shown: number, what: string }} page `newest`: where the first
 *   page is, null on it; `older`: where the next one is, null on the last.
 */
export function pager({ newest, older, shown, what }) {
  if (!shown && newest === null && older === null) return null;
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    h("span", { class: "dim" }, `${shown} ${shown === 1 ? what.replace(/s$/, "") : what} on this page, 100 at most`),
    newest === null ? null : h("a", { class: "button", href: newest }, "First page"),
    older === null ? null : h("a", { class: "button", href: older }, "Next page"),
  );
}
