// Status numbers, a minute of history, and where a chunk's time goes.

const HISTORY_LENGTH = 300; // five a second

export class Meters {
  constructor() {
    this.history = [];
  }

  show(status) {
    const latency = status.latency_ms ?? {};
    put("fps", status.fps?.toFixed(1));
    put("latency-p50", milliseconds(latency.p50));
    put("latency-p95", milliseconds(latency.p95));
    put("ttff", milliseconds(status.ttff_ms));
    put("frames-in", status.frames_in);
    put("frames-out", status.frames_out);
    put("dropped", status.dropped);
    put("worker-restarts", status.worker_restarts);
    this.showSpans(status.spans_ms ?? {});
    this.history.push({ fps: status.fps ?? 0, latency: latency.p50 ?? 0 });
    if (this.history.length > HISTORY_LENGTH) this.history.shift();
    this.drawHistory();
  }

  showSpans(spans) {
    const entries = Object.entries(spans).filter(([, ms]) => ms > 0);
    const total = entries.reduce((sum, [, ms]) => sum + ms, 0);
    const bars = entries.map(([, ms], index) => {
      const bar = document.createElement("i");
      bar.className = `swatch-${index % 8}`;
      bar.style.width = `${(100 * ms) / total}%`;
      return bar;
    });
    const items = entries.map(([name, ms], index) => {
      const item = document.createElement("li");
      item.className = `swatch-${index % 8}`;
      item.textContent = `${name} ${ms.toFixed(1)} ms`;
      return item;
    });
    document.getElementById("spans-bar").replaceChildren(...bars);
    document.getElementById("spans").replaceChildren(...items);
  }

  drawHistory() {
    const canvas = document.getElementById("history");
    const scale = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const context = canvas.getContext("2d");
    for (const [key, colour] of [["latency", "#ff7ab8"], ["fps", "#8aa4ff"]]) {
      const top = Math.max(...this.history.map((sample) => sample[key]), 1) * 1.15;
      context.strokeStyle = colour;
      context.lineWidth = 1.5 * scale;
      context.beginPath();
      this.history.forEach((sample, index) => {
        const x = ((index + HISTORY_LENGTH - this.history.length) / (HISTORY_LENGTH - 1)) * canvas.width;
        context.lineTo(x, canvas.height * (1 - sample[key] / top));
      });
      context.stroke();
    }
  }
}

function milliseconds(value) {
  return value > 0 ? `${Math.round(value)} ms` : undefined;
}

function put(id, text) {
  document.getElementById(id).textContent = text ?? "–";
}
