// Elements, and bringing those on the page up to date. Text is only ever inserted as text: there is no way to pass markup.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element. `onclick` and the like are listeners, `key` tells siblings apart, everything else is an attribute. */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same in SVG. */
export function s(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(node, props, children) {
  append(node, children);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'key') node._key = String(value);
    else if (name.startsWith('on')) listen(node, name.slice(2), value);
    else if (name === 'value' || name === 'checked' || name === 'indeterminate') {
      (node._live ??= {})[name] = value;
      node[name] = value;
    } else node.setAttribute(name, value === true ? '' : String(value));
  }
  // What a box is to hold may also be false, and must be told apart from what nobody sets.
  if (props && props.checked === false) (node._live ??= {}).checked = false;
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === true) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

function dispatch(event) {
  event.currentTarget._on?.[event.type]?.(event);
}

// One listener per event and element, which looks up what to do: so a newer rendering can swap it.
function listen(node, type, handler) {
  node._on ??= {};
  if (!node._on[type]) node.addEventListener(type, dispatch);
  node._on[type] = handler;
}

/** Replaces what `parent` shows by `content`, touching only what differs: focus, selection and scroll positions stay. */
export function render(parent, ...content) {
  const fresh = document.createElement('div');
  append(fresh, content);
  children(parent, fresh);
}

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && a._key === b._key;
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    // Whether a disclosure is open is the reader's to say.
    if (!fresh.hasAttribute(name) && !(old.nodeName === 'DETAILS' && name === 'open')) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.nodeName === 'DETAILS' && name === 'open') continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const type of Object.keys(old._on ?? {})) if (!fresh._on?.[type]) delete old._on[type];
  for (const [type, handler] of Object.entries(fresh._on ?? {})) listen(old, type, handler);
  children(old, fresh);
  old._live = fresh._live;
  // Nobody's typing is overwritten.
  const typing = old === document.activeElement && old.type !== 'checkbox' && old.nodeName !== 'SELECT';
  if (!typing) for (const [name, value] of Object.entries(fresh._live ?? {})) if (old[name] !== value) old[name] = value;
}

function children(old, fresh) {
  const wanted = [...fresh.childNodes];
  const keys = new Set(wanted.map((node) => node._key).filter(Boolean));
  const kept = new Map();
  for (const node of [...old.childNodes]) {
    if (node._key === undefined) continue;
    if (keys.has(node._key)) kept.set(node._key, node);
    else node.remove();
  }
  let at = old.firstChild;
  for (const want of wanted) {
    const have = want._key === undefined ? at : kept.get(want._key);
    if (have && same(have, want)) {
      if (have === at) at = at.nextSibling;
      else old.insertBefore(have, at);
      morph(have, want);
    } else old.insertBefore(want, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
