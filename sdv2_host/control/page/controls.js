// Controls made from the parameter table that the host sends, in groups; each with its OSC address.

import { element } from "/dom.js";

const FLOAT_STEP = 0.01;
const RANGE_LIMIT = 3000; // an integer with more values gets a number box alone, no slider
export const ELSEWHERE = new Set([
  "prompt", "prompt_b", "crossfade", "transition", "transition_unit", "bpm", "quantize",
  "freeze", "blackout", "pause", "record", "panicked",
]);

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
    this.specs = new Map();
  }

  /** The rows of the table that have no place of their own on the page. */
  build(specs) {
    this.specs = new Map(specs.map((spec) => [spec.name, spec]));
    this.rows.clear();
    const shown = specs.filter((spec) => !ELSEWHERE.has(spec.name));
    const groups = [...new Set(shown.map((spec) => spec.group))];
    this.parent.replaceChildren(
      ...groups.map((group) => {
        const rows = shown.filter((spec) => spec.group === group).map((spec) => this.makeRow(spec));
        return element("fieldset", {}, element("legend", { textContent: group }), ...rows);
      }),
    );
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
    for (const input of row.inputs) this.listen(row, input, id);
    const tools = element("span", { className: "control-tools" }, makeAddress(spec));
    if (spec.kind === "bool" || spec.minimum !== null) tools.append(this.makeLearn(spec));
    if (spec.restarts) tools.append(element("span", { className: "mark", textContent: "restarts the engine" }));
    const help = element("small", { id: `${id}-help` }, element("span", { textContent: helpText(spec) }), tools);
    this.rows.set(spec.name, row);
    return element("div", { className: "control" }, label, ...row.inputs, help);
  }

  listen(row, input, id) {
    const { spec } = row;
    const event = isTyped(input) ? "change" : "input";
    input.addEventListener(event, () => {
      if (input.value !== "" && input.checkValidity()) this.set(spec.name, read(spec, input));
      else if (spec.kind === "str") this.set(spec.name, input.value);
      else write(row, this.values[spec.name]);
    });
    input.addEventListener("pointerdown", () => { row.isHeld = input.type === "range"; });
    input.addEventListener("focus", () => { row.isHeld = isTyped(input) && input.type !== "select-one"; });
    for (const end of ["blur", "pointerup", "pointercancel"]) {
      input.addEventListener(end, () => {
        row.isHeld = false;
        if (!(spec.name in this.pending)) write(row, this.values[spec.name]);
      });
    }
    input.addEventListener("dblclick", () => { if (input.type === "range") this.set(spec.name, spec.default); });
    input.setAttribute("aria-describedby", `${id}-help`);
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
    return [element("select", { id }, ...spec.choices.map((value) => element("option", { value, textContent: value })))];
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

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or no secure context: over a selection
    const box = element("textarea", { value: text });
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
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
  return spec.unit ? `${spec.help} In ${spec.unit}.` : spec.help;
}

export function words(name) {
  return name.replaceAll("_", " ");
}

