// The OSC address of everything that is played: while OSC is pressed, a click copies it.

import { $, setPressed, setText } from "/dom.js";

export class Addresses {
  /** @param {{learn: (name: string) => Promise<void>}} learnt */
  constructor(learnt) {
    this.rows = new Map();
    this.chosen = null;
    $("osc-switch").addEventListener("click", () => this.toggle());
    $("osc-copy").addEventListener("click", () => this.copyChosen());
    $("osc-learn").addEventListener("click", () => learnt.learn(this.chosen.name));
    document.addEventListener("click", (event) => this.take(event), true);
    document.addEventListener("mousedown", (event) => { if (this.played(event)) event.preventDefault(); }, true);
    for (const kind of ["pointerover", "focusin"]) {
      document.addEventListener(kind, (event) => { if (this.played(event)) this.choose(this.played(event)); });
    }
  }

  /** Both tables: parameters and actions have names of their own. */
  build(params, actions) {
    this.rows = new Map([...params, ...actions].map((row) => [row.name, row]));
  }

  toggle() {
    const isOn = document.body.classList.toggle("osc");
    setPressed($("osc-switch"), isOn);
    $("osc-strip").hidden = !isOn;
  }

  /** What is played by the control of this event; null while OSC is not pressed. */
  played(event) {
    return document.body.classList.contains("osc") ? event.target.closest?.("[data-osc]") : null;
  }

  take(event) {
    const control = this.played(event);
    if (!control || event.target.closest(".control-tools")) return;
    event.preventDefault();
    event.stopPropagation();
    this.choose(control);
    this.copyChosen();
  }

  choose(control) {
    const row = this.rows.get(control.dataset.osc);
    if (!row) return; // not connected yet
    const argument = control.dataset.oscArgument;
    const text = argument === undefined ? row.address : `${row.address} "${argument}"`;
    this.chosen = { name: row.name, text };
    setText($("osc-address"), text);
    setText($("osc-said"), row.help);
    $("osc-copy").disabled = false;
    $("osc-learn").disabled = argument !== undefined || !isLearnable(row);
  }

  async copyChosen() {
    const { text } = this.chosen;
    await copy(text);
    setText($("osc-said"), `copied ${text}`);
  }
}

/** A fader or a button has no text to send. */
function isLearnable(row) {
  if (row.args) return row.args.every((arg) => arg.optional);
  return row.kind === "bool" || row.minimum !== null;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or no secure context: over a selection
    const box = document.createElement("textarea");
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
}

export function words(name) {
  return name.replaceAll("_", " ");
}
