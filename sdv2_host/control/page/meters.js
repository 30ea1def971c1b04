// Numbers of now, the latency budget by stage, and the last minute as a picture and in words.

import { showBudget } from "/budget.js";
import { $, element, fill, setText } from "/dom.js";

const HISTORY_LENGTH = 300; // five a second
const USUAL_CHUNK_FRAMES = 4;
const LANES = [
  { key: "fps", unit: "fps", colour: "#8aa4ff" },
  { key: "latency", unit: "ms", colour: "#ff7ab8" },
  { key: "drops", unit: "drops", colour: "#f2b84b" },
];
const [LABEL_PX, AXIS_PX, LANE_GAP_PX] = [64, 18, 10];
const [DIM, RULE] = ["#a9b0c0", "#323849"];

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
    showBudget(status.budget);
    this.showSpans(status.spans_ms ?? {}, status.fps ?? 0, status.notes?.chunk_frames ?? USUAL_CHUNK_FRAMES);
    setText($("schedule"), status.schedule ?? "");
    const previous = this.history.at(-1);
    const lost = previous ? Math.max(0, status.dropped - previous.total) : 0;
    this.history.push({ fps: status.fps ?? 0, latency: latency.p50 ?? 0, drops: lost, total: status.dropped });
    if (this.history.length > HISTORY_LENGTH) this.history.shift();
    this.drawHistory();
    this.describe();
  }

  /** The bar is as long as the frames of a chunk last: what is left of it is head-room. */
  showSpans(spans, fps, chunkFrames) {
    const entries = Object.entries(spans).filter(([, ms]) => ms > 0);
    const spent = entries.reduce((sum, [, ms]) => sum + ms, 0);
    const budget = fps > 0 ? (1000 * chunkFrames) / fps : spent;
    const longest = Math.max(spent, budget, 1);
    const worst = Math.max(...entries.map(([, ms]) => ms));
    const names = entries.map(([name]) => name);
    fill($("spans-bar"), names, (_, index) => element("i", { className: `swatch-${index % 8}` }));
    fill($("spans"), names, (name, index) =>
      element("li", { className: `swatch-${index % 8}` }, element("span", { textContent: name }), element("span")));
    entries.forEach(([, ms], index) => {
      const row = $("spans").children[index];
      $("spans-bar").children[index].style.width = `${(100 * ms) / longest}%`;
      row.dataset.worst = String(ms === worst);
      setText(row.lastChild, `${ms.toFixed(1)} ms`);
    });
    const share = Math.round((100 * spent) / budget);
    setText($("spans-text"), entries.length ? `together ${spent.toFixed(0)} of the ${budget.toFixed(0)} ms that its frames last, ${share} %` : "");
  }

  drawHistory() {
    const canvas = $("history");
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = "11px system-ui, sans-serif";
    const laneHeight = (height - AXIS_PX) / LANES.length;
    LANES.forEach((lane, index) => this.drawLane(context, lane, index * laneHeight, laneHeight, width));
    context.fillStyle = DIM;
    for (const [seconds, align, at] of [[60, "left", 0], [30, "center", 0.5], [0, "right", 1]]) {
      context.textAlign = align;
      context.fillText(seconds ? `${seconds} s ago` : "now", LABEL_PX + at * (width - LABEL_PX), height - 3);
    }
  }

  /** One curve over its own scale, from 0 at its foot to a round number at its head. */
  drawLane(context, { key, unit, colour }, top, height, width) {
    const [head, foot] = [top + LANE_GAP_PX, top + height];
    const most = roundUp(Math.max(...this.history.map((sample) => sample[key])));
    context.strokeStyle = RULE;
    context.lineWidth = 1;
    for (const y of [head, foot]) context.strokeRect(LABEL_PX, Math.round(y) - 0.5, width - LABEL_PX, 0);
    context.textAlign = "right";
    context.fillStyle = DIM;
    context.fillText(String(most), LABEL_PX - 5, head + 8);
    context.fillText("0", LABEL_PX - 5, foot);
    context.textAlign = "left";
    context.fillStyle = colour;
    context.fillText(unit, 0, head + 8);
    context.fillText(String(Math.round(this.history.at(-1)[key])), 0, head + 22);
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.beginPath();
    this.history.forEach((sample, index) => {
      const age = this.history.length - 1 - index;
      const x = width - (age / (HISTORY_LENGTH - 1)) * (width - LABEL_PX);
      context.lineTo(x, foot - (sample[key] / most) * (foot - head));
    });
    context.stroke();
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

/** The head of a scale: 1, 2, 4 or 6 times a power of ten, not below the value. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return power * [1, 2, 4, 6, 10].find((step) => step * power >= value);
}

function milliseconds(value) {
  return value > 0 ? `${Math.round(value)} ms` : undefined;
}

function put(id, text) {
  setText($(id), String(text ?? "–"));
}
