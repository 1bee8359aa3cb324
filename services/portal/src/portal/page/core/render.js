/**
 * Elements from plain descriptions: `h()` describes, `render()` makes the page say the same with few changes.
 *
 * Text becomes text nodes and nothing else; there is no way from a string to markup. Styles are set property by property
 * and listeners are functions, so the page runs under a policy that allows no inline style and no inline script.
 *
 * @typedef {{ tag: string, key: string | number | undefined, props: Props, children: VNode[], text: string, node: Node | null }} VNode
 * @typedef {Record<string, unknown>} Props
 * @typedef {VNode | string | number | boolean | null | undefined | Child[]} Child
 */

const SVG = "http://www.w3.org/2000/svg";
const TEXT = "#text";
/** These are the element's state, which the user changes too: what stands in the attribute is only the beginning. */
const PROPERTIES = new Set(["value", "checked", "selected"]);
/** Attributes that load, run or restyle something; nothing here needs them. */
const FORBIDDEN = new Set(["srcdoc", "src", "action", "formaction", "data", "style", "innerHTML", "outerHTML"]);

/** @type {WeakMap<Node, Record<string, (event: any) => void>>} */
const listeners = new WeakMap();

/**
 * Describe an element.
 *
 * @param {string} tag
 * @param {Props | null} [props] Attributes; `on<event>` takes a function, `style` an object of properties, `key` tells
 *   siblings apart that come and go, `ref` is called with the element after it was made. False, null and undefined leave
 *   an attribute out.
 * @param {...Child} children Texts and numbers become text; false and null are left out.
 * @returns {VNode}
 */
export function h(tag, props, ...children) {
  /** @type {VNode[]} */
  const list = [];
  collect(children, list);
  const key = /** @type {string | number | undefined} */ (props?.key);
  return { tag, key, props: props ?? {}, children: list, text: "", node: null };
}

/**
 * Make `root` hold what `next` describes.
 *
 * @param {Element & { described?: VNode[] }} root
 * @param {Child} next
 */
export function render(root, next) {
  /** @type {VNode[]} */
  const list = [];
  collect([next], list);
  patchChildren(root, root.described ?? [], list, false);
  root.described = list;
}

/** @param {Child[]} children @param {VNode[]} into */
function collect(children, into) {
  for (const child of children) {
    if (child === null || child === undefined || typeof child === "boolean") continue;
    if (Array.isArray(child)) collect(child, into);
    else if (typeof child === "object") into.push(child);
    else into.push({ tag: TEXT, key: undefined, props: {}, children: [], text: String(child), node: null });
  }
}

/** @param {Node} parent @param {VNode[]} before @param {VNode[]} after @param {boolean} svg */
function patchChildren(parent, before, after, svg) {
  /** @type {Map<string, VNode>} */
  const keyed = new Map();
  /** @type {VNode[]} */
  const unkeyed = [];
  for (const old of before) {
    const name = `${old.tag} ${old.key}`;
    if (old.key !== undefined && !keyed.has(name)) keyed.set(name, old);
    else unkeyed.push(old);
  }
  /** @type {Set<VNode>} */
  const kept = new Set();
  let at = 0;
  for (const next of after) {
    let old;
    if (next.key !== undefined) {
      const name = `${next.tag} ${next.key}`;
      old = keyed.get(name);
      keyed.delete(name);
    } else {
      while (at < unkeyed.length && unkeyed[at]?.tag !== next.tag) at += 1;
      old = unkeyed[at];
      at += 1;
    }
    if (old) {
      kept.add(old);
      patch(old, next, svg);
    } else make(next, svg);
  }
  for (const old of before) if (!kept.has(old)) old.node?.parentNode?.removeChild(old.node);
  let place = parent.firstChild;
  for (const next of after) {
    if (next.node === place) place = place?.nextSibling ?? null;
    else if (next.node) parent.insertBefore(next.node, place);
  }
}

/** @param {VNode} next @param {boolean} svg */
function make(next, svg) {
  if (next.tag === TEXT) {
    next.node = document.createTextNode(next.text);
    return;
  }
  const inSvg = svg || next.tag === "svg";
  const element = inSvg ? document.createElementNS(SVG, next.tag) : document.createElement(next.tag);
  next.node = element;
  patchChildren(element, [], next.children, inSvg);
  patchProps(element, {}, next.props);
  const ref = next.props.ref;
  if (typeof ref === "function") ref(element);
}

/** @param {VNode} old @param {VNode} next @param {boolean} svg */
function patch(old, next, svg) {
  const node = old.node;
  next.node = node;
  if (next.tag === TEXT) {
    if (node && old.text !== next.text) node.nodeValue = next.text;
    return;
  }
  const element = /** @type {HTMLElement} */ (node);
  patchChildren(element, old.children, next.children, svg || next.tag === "svg");
  patchProps(element, old.props, next.props);
}

/** @param {Element} element @param {Props} before @param {Props} after */
function patchProps(element, before, after) {
  for (const name in before) if (!(name in after)) setProp(element, name, before[name], undefined);
  for (const name in after) setProp(element, name, before[name], after[name]);
}

/** @param {Element} element @param {string} name @param {unknown} before @param {unknown} value */
function setProp(element, name, before, value) {
  if (name === "key" || name === "ref") return;
  if (name === "style") setStyle(/** @type {HTMLElement} */ (element), before, value);
  else if (name.startsWith("on")) setListener(element, name.slice(2), value);
  else if (PROPERTIES.has(name)) {
    const target = /** @type {any} */ (element);
    const wanted = value ?? (name === "value" ? "" : false);
    if (target[name] !== wanted) target[name] = wanted;
  } else if (before !== value) setAttribute(element, name, value);
}

/** @param {Element} element @param {string} name @param {unknown} value */
function setAttribute(element, name, value) {
  if (FORBIDDEN.has(name)) throw new Error(`${name} is not set from a description`);
  const leadsAway = name === "href" && !String(value).startsWith("#");
  if (value === null || value === undefined || value === false || leadsAway) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** @param {HTMLElement} element @param {unknown} before @param {unknown} value */
function setStyle(element, before, value) {
  const old = /** @type {Record<string, string>} */ (before ?? {});
  const now = /** @type {Record<string, string>} */ (value ?? {});
  for (const name in old) if (!(name in now)) element.style.removeProperty(name);
  for (const name in now) if (old[name] !== now[name]) element.style.setProperty(name, String(now[name]));
}

/** @param {Element} element @param {string} event @param {unknown} value */
function setListener(element, event, value) {
  let own = listeners.get(element);
  if (!own) listeners.set(element, (own = {}));
  if (!(event in own)) element.addEventListener(event, (happened) => own[event]?.(happened));
  if (typeof value === "function") own[event] = /** @type {(event: any) => void} */ (value);
  else delete own[event];
}
