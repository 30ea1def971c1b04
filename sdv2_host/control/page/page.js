// The page: wires the link to pictures, decks, show, controls, meters and log.

import { Addresses } from "/addresses.js";
import { Controls } from "/controls.js";
import { Decks } from "/decks.js";
import { $, setPressed, setText } from "/dom.js";
import { listenKeys, releaseKeys } from "/keys.js";
import { Link } from "/link.js";
import { Learnt, Log } from "/log.js";
import { Meters } from "/meters.js";
import { drawPicture } from "/pictures.js";
import { Show } from "/show.js";

const link = new Link({
  picture: drawPicture,
  message: (message) => handlers[message.type]?.(message),
  lost() {
    showConnection("lost", "connection lost, trying again");
    showBanner("The connection to the host is lost; what is shown is old. Trying again.");
    document.body.dataset.offline = "true";
  },
  unsent: () => log.say({ level: "error", origin: "page", text: "not connected, not sent" }),
  refused() {
    showConnection("lost", "the host asks for its token");
    $("token-form").hidden = false;
    $("token").focus();
  },
});
const controls = new Controls($("controls"), {
  send: (values) => link.set(values),
  learn: (name) => learnt.learn(name),
});
const decks = new Decks(link, controls);
const show = new Show(link);
const meters = new Meters();
const log = new Log();
const learnt = new Learnt(link);
const addresses = new Addresses(learnt);

let version = "";

const handlers = {
  welcome(message) {
    $("token-form").hidden = true;
    showBanner("");
    document.body.dataset.offline = "false";
    setText($("host-name"), message.name);
    version = message.version;
    showAbout(message.engine);
    setText($("osc"), `OSC ${message.listen}:${message.port}, UDP and TCP`);
    controls.build(message.params);
    addresses.build(message.params, message.actions);
    decks.build(message.styles);
    showValues(message.values);
    showBoard(message.board);
    log.begin(message.notices);
    learnt.refresh();
    showConnection("connecting", "connected");
  },
  status(message) {
    meters.show(message);
    decks.showStatus(message);
    showAbout(message.engine);
    const live = ["live", message.preparing, message.encoding].filter(Boolean).join("; ");
    showConnection(message.state, message.state === "live" ? live : `${message.state}: ${message.detail}`);
    $("notice").hidden = message.state === "live";
    $("engine-retry").hidden = !["safe", "failed"].includes(message.state);
    setText($("notice"), message.detail || message.state);
    document.title = `${$("host-name").textContent}: ${message.state}`;
  },
  state(message) {
    showValues(message.values);
    showBoard(message.board);
  },
  ack: (message) => showValues(message.values),
  notice: (message) => log.add(message),
};

function showAbout(engine) {
  setText($("about"), `sdv2-host ${version} · engine ${engine}`);
}

function showValues(values) {
  controls.show(values);
  decks.show(values);
  show.showValues(values);
}

function showBoard(facts) {
  show.showBoard(facts);
  learnt.showBoard(facts);
}

function showConnection(state, text) {
  $("connection").dataset.state = state;
  setText($("connection"), text);
}

function showBanner(text) {
  $("banner").hidden = !text;
  setText($("banner"), text);
}

function showDock(isDock) {
  document.body.classList.toggle("dock", isDock);
  setPressed($("dock-switch"), isDock);
}

$("dock-switch").addEventListener("click", () => showDock(!document.body.classList.contains("dock")));
showDock(new URLSearchParams(location.hash.slice(1)).has("dock"));
$("help-button").addEventListener("click", () => $("help").showModal());
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  $("token-form").hidden = true;
  link.retry($("token").value.trim());
});
releaseKeys();
listenKeys({ link, controls, show, addresses });
