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
    this.values = { prompt: "", prompt_b: "" };
    this.styles = {};
    for (const form of document.querySelectorAll(".deck")) this.listen(form, form.dataset.deck);
    for (const button of document.querySelectorAll("[data-cut]")) {
      button.addEventListener("click", () => controls.set("crossfade", Number(button.dataset.cut)));
    }
  }

  listen(form, deck) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.apply(deck, $(deck).value.replace(/\s*\n\s*/g, " "));
    });
    $(deck).addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault(); // no new line
      form.requestSubmit();
    });
    $(deck).addEventListener("input", () => this.markDraft(deck));
  }

  /** Whether the text of the deck is one that the host does not have. */
  markDraft(deck) {
    document.querySelector(`[data-deck=${deck}]`).dataset.draft = String($(deck).value !== this.values[deck]);
  }

  build(styles) {
    this.styles = styles;
    fill($("styles"), Object.keys(styles), (name) => this.makeChip(name));
  }

  apply(deck, text) {
    const answered = (message) => {
      if (message.type !== "ack") return this.tell("error", message.message);
      const error = Object.values(message.errors)[0];
      if (error) return this.tell("error", error);
      if (!(deck in message.values)) return this.tell("", "waits for the beat");
      const taken = message.values[deck];
      if (deck === "prompt") this.asked = null; // the one before
      if (deck in message.clamped) return this.tell("error", `applied, cut to ${taken.length} characters`);
      if (deck === "prompt") this.asked = taken;
      this.tell("done", "applied");
    };
    this.tell("", "sent");
    this.link.set({ [deck]: text }, answered);
  }

  show(values) {
    for (const deck of DECKS.filter((name) => name in values)) {
      // A text that somebody is at is not written over; one that nobody changed is.
      const isDraft = document.activeElement === $(deck) && $(deck).value !== this.values[deck];
      if (!isDraft && $(deck).value !== values[deck]) $(deck).value = values[deck];
    }
    Object.assign(this.values, values);
    DECKS.forEach((deck) => this.markDraft(deck));
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
    chip.dataset.osc = "prompt";
    chip.dataset.oscArgument = this.styles[name];
    chip.addEventListener("click", (event) => {
      const deck = event.shiftKey ? "prompt_b" : "prompt";
      $(deck).value = this.styles[name];
      this.apply(deck, this.styles[name]);
    });
    return chip;
  }
}
