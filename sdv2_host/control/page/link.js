// The WebSocket to the host: JSON both ways, pictures in; reconnects by itself.

const RETRY_MS = [250, 500, 1000, 2000];

export class Link {
  /**
   * @param {{message: (m: object) => void, picture: (p: ArrayBuffer) => Promise<void>,
   *          state: (s: "live" | "lost") => void}} on
   */
  constructor(on) {
    this.on = on;
    this.tries = 0;
    this.nextId = 1;
    this.open();
  }

  open() {
    this.socket = new WebSocket(`ws://${location.host}/socket`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.tries = 0;
      this.on.state("live");
    };
    this.socket.onmessage = async ({ data }) => {
      if (typeof data === "string") return this.on.message(JSON.parse(data));
      // The host sends no more than a few pictures until we say that they are drawn.
      try {
        await this.on.picture(data);
      } finally {
        this.send({ type: "drawn" });
      }
    };
    this.socket.onclose = () => {
      this.on.state("lost");
      setTimeout(() => this.open(), RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
    };
  }

  /** Sends values {name: value}; returns the id that the answer will carry, or null when offline. */
  set(values) {
    const id = this.nextId++;
    return this.send({ type: "set", id, values }) ? id : null;
  }

  send(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }
}
