// The keyboard. Keys belong to a field while it has the focus; Esc leaves it.

import { $, takesKeys } from "/dom.js";

const TWICE_MS = 600;

/** @param {{link: any, controls: any, show: any, addresses: any}} played */
export function listenKeys({ link, controls, show, addresses }) {
  let escapedMs = -TWICE_MS;
  const keys = {
    "/": () => $("prompt").select(),
    "?": () => $("help").showModal(),
    " ": () => link.call("cue_go"),
    "[": () => link.call("preset_previous"),
    "]": () => link.call("preset_next"),
    enter: () => link.call("resume"),
    f: () => show.toggle("freeze"),
    b: () => show.toggle("blackout"),
    p: () => show.toggle("pause"),
    t: () => link.call("tap"),
    r: () => link.call("seed_randomise"),
    o: () => addresses.toggle(),
  };
  for (const steps of [1, 2, 3, 4]) keys[steps] = () => controls.set("steps", steps);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (takesKeys(event.target)) event.target.blur();
      if (event.timeStamp - escapedMs < TWICE_MS) link.call("panic");
      escapedMs = event.timeStamp;
      return;
    }
    if (takesKeys(event.target) || document.querySelector("dialog[open]")) return;
    // Space and Enter press the button that has the focus.
    const isPress = [" ", "Enter"].includes(event.key);
    if (isPress && event.target.matches("button, [type=checkbox]")) return;
    const action = keys[event.key.toLowerCase()];
    if (action && !event.repeat) {
      event.preventDefault();
      action();
    }
  });
}

/** After a click the keys are the show's again: Space is GO, and not that button once more. */
export function releaseKeys() {
  let isPointer = false;
  document.addEventListener("pointerdown", () => { isPointer = true; }, true);
  document.addEventListener("keydown", () => { isPointer = false; }, true);
  for (const kind of ["click", "change"]) {
    document.addEventListener(kind, ({ target }) => {
      const played = target.closest?.(kind === "click" ? "button, [type=checkbox]" : "select");
      if (isPointer) played?.blur();
    }, true);
  }
}
