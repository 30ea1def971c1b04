// Controls made from the parameter table that the host sends; the prompt has its own place.

const FLOAT_STEP = 0.01;
const RANGE_LIMIT = 1000; // an integer with more values gets a number box, not a slider

export class Controls {
  /** @param {object[]} specs @param {(values: object) => void} send */
  constructor(specs, send) {
    this.send = send;
    this.pending = {};
    this.inputs = new Map();
    const rows = specs.filter((spec) => spec.name !== "prompt").map((spec) => this.makeRow(spec));
    document.getElementById("controls").replaceChildren(...rows);
  }

  /** Shows values that are in force, except under the user's fingers. */
  show(values) {
    for (const [name, { input, value }] of this.inputs) {
      if (!(name in values) || name in this.pending) continue;
      const isHeld = document.activeElement === input && isTyped(input);
      if (input.type === "checkbox") input.checked = values[name];
      else if (!isHeld) input.value = values[name];
      value.textContent = wording(values[name]);
    }
  }

  get(name) {
    const input = this.inputs.get(name)?.input;
    if (!input || input.type === "text") return input?.value;
    return input.type === "checkbox" ? input.checked : Number(input.value);
  }

  set(name, value) {
    if (!this.inputs.has(name)) return;
    const { input, value: shown } = this.inputs.get(name);
    if (input.type === "checkbox") input.checked = value;
    else input.value = value;
    shown.textContent = wording(value);
    // One message per animation frame, the last value wins: a drag makes hundreds of events.
    if (Object.keys(this.pending).length === 0) requestAnimationFrame(() => this.flush());
    this.pending[name] = value;
  }

  flush() {
    const values = this.pending;
    this.pending = {};
    this.send(values);
  }

  makeRow(spec) {
    const row = element("div", { className: "control" });
    const id = `control-${spec.name}`;
    const label = element("label", { htmlFor: id, textContent: spec.name.replaceAll("_", " ") });
    const input = makeInput(spec, id);
    const value = element("span", { className: "value" });
    const help = element("small", { id: `${id}-help` });
    help.append(element("span", { textContent: spec.help }), element("code", { textContent: spec.address }));
    input.setAttribute("aria-describedby", help.id);
    input.addEventListener(isTyped(input) ? "change" : "input", () => this.set(spec.name, this.get(spec.name)));
    row.append(label, input, input.type === "number" ? this.makeDice(spec) : value, help);
    this.inputs.set(spec.name, { input, value });
    return row;
  }

  makeDice(spec) {
    const dice = element("button", { type: "button", textContent: "Random" });
    dice.addEventListener("click", () => this.set(spec.name, randomIn(spec)));
    return dice;
  }
}

export function randomIn(spec) {
  return Math.floor(spec.minimum + Math.random() * (Math.min(spec.maximum, 99_999) - spec.minimum + 1));
}

function makeInput(spec, id) {
  if (spec.kind === "bool") return element("input", { id, type: "checkbox" });
  if (spec.kind === "str") return element("input", { id, type: "text", autocomplete: "off", spellcheck: false });
  const isWide = spec.kind === "int" && spec.maximum - spec.minimum > RANGE_LIMIT;
  const step = spec.kind === "int" ? 1 : FLOAT_STEP;
  const input = element("input", { id, type: isWide ? "number" : "range" });
  Object.assign(input, { min: spec.minimum, max: spec.maximum, step });
  return input;
}

/** Its value holds once the user is done, not at every key. */
function isTyped(input) {
  return input.type === "number" || input.type === "text";
}

function wording(value) {
  if (typeof value === "string") return "";
  if (typeof value === "boolean") return value ? "on" : "off";
  return Number.isInteger(value) ? String(value) : value.toFixed(2);
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}
