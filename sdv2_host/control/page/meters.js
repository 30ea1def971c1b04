// Numbers of now, the latency budget by stage, and the last minute as a picture and in words.

import { $, element, setText } from "/dom.js";

const HISTORY_LENGTH = 300; // five a second
const FRAMES_PER_CHUNK = 4;

export class Meters {
  constructor() {
    this.history = [];
    this.described = 0;
  }

  show(status) {
    const latency = status.latency_ms ?? {};
    put("fps", status.fps?.toFixed(1));
    put("latency-p50", milliseconds(latency.p50));
    put("latency-p95", milliseconds(latency.p95));
    put("dropped", status.dropped);
    put("frames-in", status.frames_in);
    put("frames-out", status.frames_out);
    put("worker-restarts", status.worker_restarts);
    this.showSpans(status.spans_ms ?? {}, status.fps ?? 0);
    const previous = this.history.at(-1);
    const lost = previous ? Math.max(0, status.dropped - previous.total) : 0;
    this.history.push({ fps: status.fps ?? 0, latency: latency.p50 ?? 0, drops: lost, total: status.dropped });
    if (this.history.length > HISTORY_LENGTH) this.history.shift();
    this.drawHistory();
  }

  /** The bar is as long as the frames of a chunk last: what is left of it is head-room. */
  showSpans(spans, fps) {
    const entries = Object.entries(spans).filter(([, ms]) => ms > 0);
    const spent = entries.reduce((sum, [, ms]) => sum + ms, 0);
    const budget = fps > 0 ? (1000 * FRAMES_PER_CHUNK) / fps : spent;
    const longest = Math.max(spent, budget, 1);
    const bars = entries.map(([, ms], index) => {
      const bar = element("i", { className: `swatch-${index % 8}` });
      bar.style.width = `${(100 * ms) / longest}%`;
      return bar;
    });
    const worst = entries.reduce((most, entry) => (entry[1] > most[1] ? entry : most), ["", 0]);
    const items = entries.map(([name, ms], index) => {
      const text = `${name} ${ms.toFixed(1)} ms${name === worst[0] ? ", the longest" : ""}`;
      return element("li", { className: `swatch-${index % 8}`, textContent: text });
    });
    if (entries.length) {
      const share = Math.round((100 * spent) / budget);
      items.push(element("li", { className: "swatch-none", textContent: `together ${spent.toFixed(0)} of ${budget.toFixed(0)} ms, ${share} %` }));
    }
    $("spans-bar").replaceChildren(...bars);
    $("spans").replaceChildren(...items);
  }

  drawHistory() {
    const canvas = $("history");
    const scale = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const context = canvas.getContext("2d");
    const lanes = [["fps", "#8aa4ff", "fps", 0], ["latency", "#ff7ab8", "ms", 0], ["drops", "#f2b84b", "drops", 1]];
    const height = canvas.height / lanes.length;
    context.font = `${11 * scale}px system-ui, sans-serif`;
    lanes.forEach(([key, colour, unit, least], lane) => {
      const top = Math.max(...this.history.map((sample) => sample[key]), least, 1) * 1.15;
      const base = height * (lane + 1);
      context.strokeStyle = "#2a2f3c";
      context.strokeRect(0, base - 0.5, canvas.width, 0);
      context.strokeStyle = colour;
      context.lineWidth = 1.5 * scale;
      context.beginPath();
      this.history.forEach((sample, index) => {
        const x = ((index + HISTORY_LENGTH - this.history.length) / (HISTORY_LENGTH - 1)) * canvas.width;
        context.lineTo(x, base - (sample[key] / top) * height * 0.9);
      });
      context.stroke();
      context.fillStyle = colour;
      const newest = this.history.at(-1)[key];
      context.fillText(`${Math.round(newest)} ${unit}`, 4 * scale, base - height + 13 * scale);
    });
    this.describe();
  }

  /** In words, for those who do not see the picture; not more often than one can listen. */
  describe() {
    if (Date.now() - this.described < 5000) return;
    this.described = Date.now();
    const of = (key) => this.history.map((sample) => sample[key]);
    const drops = of("drops").reduce((sum, count) => sum + count, 0);
    const [fps, latency] = [of("fps"), of("latency")].map((all) => `${Math.round(Math.min(...all))} to ${Math.round(Math.max(...all))}`);
    setText($("history-text"), `${fps} fps, latency ${latency} ms, ${drops} dropped`);
  }
}

function milliseconds(value) {
  return value > 0 ? `${Math.round(value)} ms` : undefined;
}

function put(id, text) {
  setText($(id), String(text ?? "–"));
}
