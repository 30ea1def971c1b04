// Controls made from the parameter table that the host sends, in groups; each with its OSC address.

import { copy, words } from "/addresses.js";
import { element, fill } from "/dom.js";

const FLOAT_STEP = 0.01;
const RANGE_LIMIT = 3000; // an integer with more values gets a number box alone, no slider
// These have a place of their own on the page, as have the inputs that index.html marks data-param.
const ELSEWHERE = new Set(["prompt", "prompt_b", "freeze", "blackout", "pause", "record", "record_show", "panicked"]);

export class Controls {
  /**
   * @param {HTMLElement} parent
   * @param {{send: (values: object) => void, learn: (name: string) => void}} on
   */
  constructor(parent, on) {
    this.parent = parent;
    this.on = on;
    this.pending = {};
    this.rows = new Map();
    this.values = {};
    this.placed = [...document.querySelectorAll("[data-param]")];
    for (const input of this.placed) this.listen(input.dataset.param, input);
  }

  /** Every row of the table; a host that comes back with the same one finds the page as it was. */
  build(specs) {
    const placed = new Map(this.placed.map((input) => [input.dataset.param, input]));
    const groups = [...new Set(specs.map((spec) => spec.group))].map((group) =>
      specs.filter((spec) => spec.group === group && !ELSEWHERE.has(spec.name) && !placed.has(spec.name)));
    fill(this.parent, groups.filter((rows) => rows.length), (rows) =>
      element("fieldset", {}, element("legend", { textContent: rows[0].group }), ...rows.map((spec) => this.makeRow(spec))));
    for (const spec of specs.filter(({ name }) => placed.has(name))) {
      const input = placed.get(spec.name);
      if (spec.choices.length) fillChoices(input, spec);
      else Object.assign(input, { min: spec.minimum, max: spec.maximum });
      this.rows.set(spec.name, { spec, inputs: [input], isHeld: false });
    }
  }

  /** Shows values that are in force, except under the user's fingers. */
  show(values) {
    Object.assign(this.values, values);
    for (const [name, row] of this.rows) {
      if (!(name in values) || name in this.pending || row.isHeld) continue;
      write(row, values[name]);
    }
  }

  get(name) {
    return this.pending[name] ?? this.values[name];
  }

  /** Sends the value with the next frame: a drag makes hundreds of events, the last one counts. */
  set(name, value) {
    const row = this.rows.get(name);
    if (row) write(row, value);
    if (Object.keys(this.pending).length === 0) requestAnimationFrame(() => this.flush());
    this.pending[name] = value;
  }

  flush() {
    const values = this.pending;
    this.pending = {};
    Object.assign(this.values, values);
    this.on.send(values);
  }

  makeRow(spec) {
    const id = `control-${spec.name}`;
    const label = element("label", { htmlFor: id, textContent: words(spec.name) });
    const row = { spec, inputs: makeInputs(spec, id), isHeld: false };
    for (const input of row.inputs) {
      this.listen(spec.name, input);
      input.setAttribute("aria-describedby", `${id}-help`);
      input.addEventListener("dblclick", () => { if (input.type === "range") this.set(spec.name, spec.default); });
    }
    const tools = element("span", { className: "control-tools" }, makeAddress(spec));
    if (spec.kind === "bool" || spec.minimum !== null) tools.append(this.makeLearn(spec));
    if (spec.swaps_engine) tools.append(element("span", { className: "mark", textContent: "another engine takes over" }));
    const help = element("small", { id: `${id}-help` }, element("span", { textContent: helpText(spec) }), tools);
    this.rows.set(spec.name, row);
    const made = element("div", { className: "control" }, label, ...row.inputs, help);
    made.dataset.osc = spec.name;
    return made;
  }

  listen(name, input) {
    const event = isTyped(input) ? "change" : "input";
    input.addEventListener(event, () => {
      const row = this.rows.get(name);
      const { spec } = row;
      if (input.value !== "" && input.checkValidity()) this.set(spec.name, read(spec, input));
      else if (spec.kind === "str") this.set(spec.name, input.value);
      else write(row, this.values[spec.name]);
    });
    // A slider is held by the pointer, which also brings the focus; a text by the focus.
    const isSlider = input.type === "range";
    if (!isSlider && (!isTyped(input) || input.type === "select-one")) return;
    input.addEventListener(isSlider ? "pointerdown" : "focus", () => this.hold(name, true));
    for (const end of isSlider ? ["blur", "pointerup", "pointercancel"] : ["blur"]) {
      input.addEventListener(end, () => this.hold(name, false));
    }
  }

  /** What is held is not written over; what was missed meanwhile is shown when it is let go. */
  hold(name, isHeld) {
    const row = this.rows.get(name);
    if (!row) return; // not connected yet
    row.isHeld = isHeld;
    if (!isHeld && !(name in this.pending)) write(row, this.values[name]);
  }

  makeLearn(spec) {
    const button = element("button", { type: "button", className: "learn", textContent: "learn", hidden: true });
    button.title = `Play ${words(spec.name)} by the next unknown OSC address`;
    button.setAttribute("aria-label", `Learn an OSC address for ${words(spec.name)}`);
    button.addEventListener("click", () => this.on.learn(spec.name));
    return button;
  }
}

/** @returns {HTMLElement[]} the inputs of one parameter: a slider has a box for its number */
function makeInputs(spec, id) {
  if (spec.kind === "bool") return [element("input", { id, type: "checkbox" })];
  if (spec.choices.length) {
    return [fillChoices(element("select", { id }), spec)];
  }
  if (spec.kind === "str") return [element("input", { id, type: "text", autocomplete: "off", spellcheck: false })];
  const step = spec.step ?? (spec.kind === "int" ? 1 : FLOAT_STEP);
  const limits = { min: spec.minimum, max: spec.maximum, step };
  const box = element("input", { type: "number" });
  Object.assign(box, { ...limits, step: spec.kind === "int" ? step : "any" });
  if (spec.kind === "int" && (spec.maximum - spec.minimum) / step > RANGE_LIMIT) {
    box.id = id;
    return [box];
  }
  box.setAttribute("aria-label", `${words(spec.name)}, as a number`);
  const slider = element("input", { id, type: "range" });
  Object.assign(slider, limits);
  return [slider, box];
}

function makeAddress(spec) {
  const button = element("button", { type: "button", className: "address" }, element("code", { textContent: spec.address }));
  button.title = "Copy the OSC address";
  button.setAttribute("aria-label", `Copy the OSC address ${spec.address}`);
  button.addEventListener("click", async () => {
    await copy(spec.address);
    button.dataset.copied = "true";
    setTimeout(() => delete button.dataset.copied, 900);
  });
  return button;
}

function fillChoices(select, spec) {
  fill(select, spec.choices, (value) => element("option", { value, textContent: value }));
  return select;
}

function write(row, value) {
  for (const input of row.inputs) {
    if (input.type === "checkbox") input.checked = value;
    else if (input.type === "number" && document.activeElement === input && row.isHeld) continue;
    else if (input.type === "number" && row.spec.kind === "float") input.value = String(Number(Number(value).toFixed(3)));
    else input.value = value;
  }
}

function read(spec, input) {
  if (spec.kind === "bool") return input.checked;
  return spec.kind === "str" ? input.value : Number(input.value);
}

/** Its value holds once the user is done, not at every key. */
function isTyped(input) {
  return ["number", "text", "select-one"].includes(input.type);
}

function helpText(spec) {
  const isSaid = !spec.unit || words(spec.name).split(" ").includes(spec.unit);
  return isSaid ? spec.help : `${spec.help} In ${spec.unit}.`;
}
