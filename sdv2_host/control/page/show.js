// What a show is run by: presets, cues, tempo and the switches of the output.

import { $, element, fill, setPressed, setText } from "/dom.js";

export class Show {
  constructor(link) {
    this.link = link;
    this.board = {};
    this.values = {};
    this.clockOffsetMs = 0;
    this.listenTransport();
    this.listenPresets();
    this.listenLooks();
    this.listenCues();
    requestAnimationFrame(() => this.drawBeat());
  }

  listenTransport() {
    $("panic").addEventListener("click", () => this.link.call("panic"));
    $("resume").addEventListener("click", () => this.link.call("resume"));
    for (const button of document.querySelectorAll("[data-action]")) {
      button.addEventListener("click", () => this.link.call(button.dataset.action));
    }
    for (const button of document.querySelectorAll("[data-switch]")) {
      button.addEventListener("click", () => this.toggle(button.dataset.switch));
    }
    $("tap").addEventListener("click", () => this.link.call("tap"));
  }

  toggle(name) {
    this.link.set({ [name]: !this.values[name] });
  }

  listenPresets() {
    $("preset-search").addEventListener("input", () => this.showPresets());
    $("preset-save").addEventListener("click", () => {
      $("save-name").value = this.board.preset ?? "";
      $("save-dialog").showModal();
    });
    $("save-dialog").addEventListener("close", () => {
      const name = $("save-name").value.trim();
      if ($("save-dialog").returnValue === "save" && name) this.link.call("preset_save", [name]);
    });
  }

  listenLooks() {
    for (const button of document.querySelectorAll("[data-look]")) {
      button.addEventListener("click", () => {
        const name = $("look").value.trim();
        if (name) this.link.call(button.dataset.look, [name]);
        else $("look").focus();
      });
    }
  }

  loadPreset(name) {
    const fade = $("preset-fade").value;
    this.link.call("preset_load", fade === "" ? [name] : [name, Number(fade)]);
  }

  listenCues() {
    $("cue-go").addEventListener("click", () => this.link.call("cue_go"));
    $("cue-back").addEventListener("click", () => this.link.call("cue_back"));
    $("cue-list").addEventListener("change", () => this.link.call("cues_load", [$("cue-list").value]));
  }

  showValues(values) {
    Object.assign(this.values, values);
    for (const button of document.querySelectorAll("[data-switch]")) setPressed(button, this.values[button.dataset.switch]);
    document.body.dataset.panicked = String(Boolean(this.values.panicked));
    setPressed($("panic"), this.values.panicked);
  }

  showBoard(facts) {
    Object.assign(this.board, facts);
    if (facts.tempo) this.clockOffsetMs = facts.tempo.now_ms - performance.now();
    this.showPresets();
    this.showCues();
    fill($("look-names"), this.board.looks ?? [], (name) => element("option", { value: name }));
    setText($("pending"), this.board.tempo?.pending ? `waits for the beat: ${this.board.tempo.pending}` : "");
  }

  showPresets() {
    const wanted = $("preset-search").value.trim().toLowerCase();
    const names = (this.board.presets ?? []).filter((name) => name.toLowerCase().includes(wanted));
    fill($("presets"), names, (name) => {
      const button = element("button", { type: "button", textContent: name });
      button.dataset.name = name;
      button.dataset.osc = "preset_load";
      button.dataset.oscArgument = name;
      button.addEventListener("click", () => this.loadPreset(name));
      return button;
    });
    for (const button of $("presets").children) {
      const isCurrent = button.dataset.name === this.board.preset;
      setPressed(button, isCurrent);
      button.dataset.changed = String(isCurrent && Boolean(this.board.preset_changed));
    }
  }

  showCues() {
    const { cue_lists: lists = [], cue_list: list = "", cues = [], cue = "", next_cue: next = "" } = this.board;
    const none = { name: "", text: lists.length ? "choose a list" : "no cue lists" };
    fill($("cue-list"), [none, ...lists.map((name) => ({ name, text: name }))], ({ name, text }) =>
      element("option", { value: name, textContent: text }));
    $("cue-list").value = list;
    $("cue-go").disabled = next === "";
    setText($("cue-next"), nextText(list, cues, next));
    $("cue-back").disabled = cue === "" || cues[0]?.split(" ", 1)[0] === cue;
    fill($("cues"), cues, (line) => {
      const number = line.split(" ", 1)[0];
      const button = element("button", { type: "button", textContent: line });
      button.dataset.cue = number;
      button.dataset.osc = "cue_go";
      button.dataset.oscArgument = number;
      button.addEventListener("click", () => this.link.call("cue_go", [number]));
      return element("li", {}, button);
    });
    for (const button of $("cues").querySelectorAll("button")) {
      if (button.dataset.cue === cue) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
      button.dataset.next = String(button.dataset.cue === next);
    }
  }

  drawBeat() {
    const tempo = this.board.tempo;
    if (tempo) {
      const beats = (performance.now() + this.clockOffsetMs - tempo.beat0_ms) * (tempo.bpm / 60000);
      const isFirst = Math.floor(beats) % tempo.beats_per_bar === 0;
      const phase = beats - Math.floor(beats);
      $("beat").dataset.on = String(phase < 0.2);
      $("beat").dataset.first = String(isFirst);
    }
    requestAnimationFrame(() => this.drawBeat());
  }
}

/** What GO would do. */
function nextText(list, cues, next) {
  if (!list) return "no cue list";
  return cues.find((line) => line.split(" ", 1)[0] === next) ?? "the end of the list";
}
