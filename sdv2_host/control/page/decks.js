// The prompt decks: two texts, the crossfader, and what became of a prompt that was asked for.

import { $, element, fill, setPressed, setText } from "/dom.js";

const DECKS = ["prompt", "prompt_b"];

export class Decks {
  /** @param {{set: (values: object, answered: (m: any) => void) => boolean}} link */
  constructor(link, controls) {
    this.link = link;
    this.controls = controls;
    this.asked = null; // a prompt that was taken and is not in the picture yet
    this.encoding = "";
    this.problem = "";
    this.values = {};
    this.styles = {};
    for (const form of document.querySelectorAll(".deck")) {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.apply(form.dataset.deck, $(form.dataset.deck).value);
      });
    }
    $("crossfade").addEventListener("input", () => controls.set("crossfade", Number($("crossfade").value)));
    $("crossfade").addEventListener("dblclick", () => controls.set("crossfade", 0));
    $("transition").addEventListener("change", () => controls.set("transition", Number($("transition").value)));
    $("transition_unit").addEventListener("change", () => controls.set("transition_unit", $("transition_unit").value));
  }

  build(specs, styles) {
    const unit = specs.find((spec) => spec.name === "transition_unit");
    fill($("transition_unit"), unit.choices, (value) => element("option", { value, textContent: value }));
    this.styles = styles;
    fill($("styles"), Object.keys(styles), (name) => this.makeChip(name));
  }

  apply(deck, text) {
    const answered = (message) => {
      if (message.type !== "ack") return this.tell("error", message.message);
      const error = Object.values(message.errors)[0];
      if (error) return this.tell("error", error);
      if (message.values[deck] !== text) return this.tell("", "waits for the beat");
      if (deck === "prompt") this.asked = text;
      this.tell("done", "applied");
    };
    if (this.link.set({ [deck]: text }, answered)) this.tell("", "sent");
    else this.tell("error", "not connected, not sent");
  }

  show(values) {
    Object.assign(this.values, values);
    for (const deck of DECKS) {
      if (deck in values && (document.activeElement !== $(deck) || !$(deck).value)) $(deck).value = values[deck];
    }
    for (const name of ["crossfade", "transition", "transition_unit"]) {
      const isHeld = document.activeElement === $(name) && $(name).type === "number";
      if (name in values && !isHeld && !(name in this.controls.pending)) $(name).value = values[name];
    }
    const share = this.values.crossfade ?? 0;
    document.querySelector("[data-deck=prompt]").dataset.onAir = String(share < 1);
    document.querySelector("[data-deck=prompt_b]").dataset.onAir = String(share > 0 && this.values.prompt_b !== "");
    for (const chip of $("styles").children) setPressed(chip, this.styles[chip.dataset.name] === this.values.prompt);
  }

  /** A prompt that has to be encoded is in the picture only seconds later, or never. */
  showStatus(status) {
    const before = this.problem;
    this.problem = status.problem;
    if (this.problem !== before) {
      if (this.problem) this.tell("error", this.problem);
      else if ($("prompt-state").textContent === before) this.tell("", "");
    }
    const hasEnded = this.encoding !== "" && status.encoding === "";
    this.encoding = status.encoding;
    if (this.encoding && this.asked !== null) this.tell("", this.encoding);
    if (this.asked === null) return;
    if (status.prompt === this.asked) {
      this.asked = null;
      this.tell("done", "applied");
    } else if (hasEnded && this.problem) this.tell("error", this.problem);
  }

  tell(kind, text) {
    $("prompt-state").dataset.kind = kind;
    setText($("prompt-state"), text);
  }

  makeChip(name) {
    const chip = element("button", { type: "button", textContent: name.replaceAll("_", " "), title: this.styles[name] });
    chip.dataset.name = name;
    chip.addEventListener("click", (event) => {
      const deck = event.shiftKey ? "prompt_b" : "prompt";
      $(deck).value = this.styles[name];
      this.apply(deck, this.styles[name]);
    });
    return chip;
  }
}
