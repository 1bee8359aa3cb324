/**
 * Where the user is: `#/view/part/part?name=value`.
 *
 * @typedef {{ view: string, parts: string[], search: URLSearchParams }} Place
 */

/** @returns {Place} */
export function place() {
  const [way = "", search = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view = "", ...parts] = way.split("/").map(decoded);
  return { view: view || "overview", parts: parts.filter(Boolean), search: new URLSearchParams(search) };
}

/**
 * @param {string[]} parts
 * @param {Record<string, string | undefined>} [search] Empty ones are left out.
 * @returns {string} For `href`.
 */
export function link(parts, search = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) if (value) parameters.set(name, value);
  const text = parameters.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** @param {string} href From `link`. */
export function go(href) {
  location.hash = href.slice(1);
}

/** Change what is searched for, without a step in the browser's history for each letter. @param {string} href */
export function replace(href) {
  history.replaceState(null, "", href);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** @param {string} text @returns {string} */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
