// The page: wires the link to pictures, prompt, controls and meters.

import { Controls, randomIn } from "/controls.js";
import { Link } from "/link.js";
import { Meters } from "/meters.js";
import { drawPicture } from "/pictures.js";

const $ = (id) => document.getElementById(id);
const meters = new Meters();
let controls = null;
let seedSpec = null;
let promptId = null; // of the prompt that waits for its answer
let encoding = ""; // what the host is doing for a prompt that is not in the picture yet
let asked = null; // the prompt that was taken and is not in the picture yet
let styles = {};
let oscHost = "";
let problem = ""; // what the host said last that it cannot follow

const link = new Link({
  picture: drawPicture,
  state: (state) => {
    if (state === "lost") showConnection("lost", "connection lost, trying again");
  },
  message: (message) => handlers[message.type]?.(message),
});

const handlers = {
  hello(message) {
    $("about").textContent = `${message.version} · engine ${message.engine}`;
    oscHost = message.listen;
    controls = new Controls(message.params, (values) => link.set(values));
    seedSpec = message.params.find((spec) => spec.name === "seed");
    styles = message.styles;
    $("styles").replaceChildren(...Object.entries(styles).map(makeChip));
    showValues(message.values);
    showConnection("connecting", "connected");
  },
  status(message) {
    meters.show(message);
    if (message.port) $("osc").textContent = `OSC udp ${oscHost}:${message.port}`;
    const live = message.encoding ? `live; ${message.encoding}` : "live";
    showConnection(message.state, message.state === "live" ? live : `${message.state}: ${message.detail}`);
    showPromptState(message);
    $("notice").hidden = message.state === "live";
    $("notice").textContent = message.detail || message.state;
  },
  values: (message) => showValues(message.values),
  ack(message) {
    if (message.id === promptId) asked = message.values.prompt;
    showValues(message.values);
  },
  error: (message) => tell("error", message.message),
};

/** A prompt that has to be encoded is in the picture only seconds later, or never. */
function showPromptState(status) {
  const before = problem;
  problem = status.problem;
  if (problem !== before) {
    if (problem) tell("error", problem);
    else if ($("prompt-state").textContent === before) tell("", "");
  }
  const hasEnded = encoding !== "" && status.encoding === "";
  encoding = status.encoding;
  if (asked === null) return;
  if (status.prompt === asked) {
    asked = null;
    tell("done", "applied");
  } else if (hasEnded && problem) tell("error", problem); // for the same reason as the last time
}

function showConnection(state, text) {
  $("connection").dataset.state = state;
  $("connection").textContent = text;
}

function showValues(values) {
  controls.show(values);
  if (document.activeElement !== $("prompt") || !$("prompt").value) $("prompt").value = values.prompt;
  for (const chip of $("styles").children) {
    chip.setAttribute("aria-pressed", String(styles[chip.dataset.name] === values.prompt));
  }
}

function applyPrompt(prompt) {
  promptId = link.set({ prompt });
  if (promptId === null) tell("error", "not connected, not sent");
  else tell("", "sent");
}

function tell(kind, text) {
  $("prompt-state").dataset.kind = kind;
  // Written only when it changes: screen readers read it out each time.
  if ($("prompt-state").textContent !== text) $("prompt-state").textContent = text;
}

function makeChip([name, prompt]) {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.textContent = name.replaceAll("_", " ");
  chip.title = prompt;
  chip.dataset.name = name;
  chip.addEventListener("click", () => {
    $("prompt").value = prompt;
    applyPrompt(prompt);
  });
  return chip;
}

$("prompt-form").addEventListener("submit", (event) => {
  event.preventDefault();
  applyPrompt($("prompt").value);
});

const keys = {
  "/": () => $("prompt").select(),
  f: () => controls.set("freeze", !controls.get("freeze")),
  r: () => controls.set("seed", randomIn(seedSpec)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("input[type=text], input[type=number]");
  if (event.key === "Escape" && isTyping) event.target.blur();
  if (isTyping || !controls) return;
  const action = "1234".includes(event.key)
    ? () => controls.set("steps", Number(event.key))
    : keys[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
});
