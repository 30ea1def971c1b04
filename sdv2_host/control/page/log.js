// What was refused, clamped, done or has failed; and OSC that was learnt.

import { words } from "/addresses.js";
import { $, element, fill, setText } from "/dom.js";

const KEPT = 200;
const REFUSAL_MS = 8000;
const RANK = { info: 0, warning: 1, error: 2 };

export class Log {
  constructor() {
    this.rows = [];
    this.refusals = 0;
    $("log-level").addEventListener("change", () => this.draw());
  }

  begin(rows) {
    this.rows = rows.slice(-KEPT);
    this.draw();
  }

  add(row) {
    this.rows.push(row);
    if (this.rows.length > KEPT) this.rows.shift();
    this.draw();
    if (row.level !== "info") this.say(row);
  }

  /** For a while at the foot of the page: the log itself may be out of sight. */
  say({ level, origin, text }) {
    clearTimeout(this.timer);
    this.refusals += 1;
    const more = this.refusals > 1 ? ` (and ${this.refusals - 1} before)` : "";
    $("refusal").dataset.level = level;
    $("refusal").hidden = false;
    setText($("refusal"), `${origin}: ${text}${more}`);
    this.timer = setTimeout(() => {
      this.refusals = 0;
      $("refusal").hidden = true;
    }, REFUSAL_MS);
  }

  draw() {
    const least = RANK[$("log-level").value];
    const shown = this.rows.filter((row) => RANK[row.level] >= least).reverse();
    const empty = { level: "info", origin: "", text: "nothing yet", at_ms: 0 };
    fill($("log"), shown.length ? shown : [empty], (row) => {
      const time = row.at_ms ? new Date(row.at_ms).toLocaleTimeString() : "";
      const item = element("li", {},
        element("time", { textContent: time }), " ",
        element("b", { textContent: row.origin }), " ", row.text);
      item.dataset.level = row.level;
      return item;
    });
  }
}

export class Learnt {
  constructor(link) {
    this.link = link;
    this.isOffered = false;
  }

  /** Asks what is learnt; where the host does not learn, the page does not offer it. */
  async refresh() {
    const { ok, answer } = await this.link.api("GET", "/api/learn");
    this.isOffered = ok;
    $("learnt-panel").hidden = !ok;
    for (const button of document.querySelectorAll("button.learn")) button.hidden = !ok;
    if (ok) this.draw(answer.rows);
  }

  async learn(target) {
    const { ok, answer } = await this.link.api("POST", "/api/learn", { target });
    if (!ok) setText($("learning"), answer?.message ?? "the host refused");
  }

  showBoard(facts) {
    if ("learnt" in facts && this.isOffered) this.refresh();
    if (!("learning" in facts)) return;
    setText($("learning"), facts.learning ? `move the fader or press the button that shall play ${words(facts.learning)}` : "");
  }

  draw(rows) {
    fill($("learnt"), rows, (row) => {
      const remove = element("button", { type: "button", textContent: "forget" });
      remove.setAttribute("aria-label", `Forget ${row.address}`);
      remove.addEventListener("click", async () => {
        await this.link.api("DELETE", "/api/learn", { address: row.address });
        this.refresh();
      });
      return element("li", {}, element("code", { textContent: row.address }), ` plays ${words(row.target)} `, remove);
    });
  }
}
