// The few things that every part of the page does with the document.

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/** @param {string} tag @param {object} properties @param {...(Node|string)} children */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Written only when it changes: screen readers read a status out each time. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setPressed(button, isPressed) {
  button.setAttribute("aria-pressed", String(Boolean(isPressed)));
}

/** Whether keys belong to this element: a text, a number, a choice. */
export function takesKeys(node) {
  return node.matches?.("input:not([type=range]):not([type=checkbox]), select, textarea") ?? false;
}

/** Children of `parent`, one for each item, made anew only when the items changed. */
export function fill(parent, items, make) {
  const key = JSON.stringify(items);
  if (parent.dataset.items === key) return;
  parent.dataset.items = key;
  parent.replaceChildren(...items.map(make));
}
