// The WebSocket to the host, protocol sdv2.v1.json: messages both ways, pictures in; reconnects.

const RETRY_MS = [250, 500, 1000, 2000];
const NEEDS_TOKEN = 4401;

export class Link {
  /**
   * @param {{message: (m: any) => void, picture: (p: ArrayBuffer) => Promise<void>,
   *          lost: () => void, refused: () => void, unsent: () => void}} on
   */
  constructor(on) {
    this.on = on;
    this.tries = 0;
    this.nextId = 1;
    this.waiting = new Map();
    this.token = tokenFromAddress();
    this.open();
  }

  open() {
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket`, "sdv2.v1.json");
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      const token = this.token || undefined;
      this.send({ type: "hello", protocol: 1, token, client: "control page" });
    };
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = ({ code }) => {
      this.waiting.clear();
      if (code === NEEDS_TOKEN) return this.on.refused();
      this.on.lost();
      setTimeout(() => this.open(), RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
    };
  }

  async receive(data) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "welcome") this.tries = 0;
      this.waiting.get(message.id)?.(message);
      this.waiting.delete(message.id);
      this.on.message(message);
      return;
    }
    // The host sends no more than a few pictures until we say that they are drawn.
    try {
      await this.on.picture(data);
    } finally {
      this.send({ type: "drawn" });
    }
  }

  /** Once more, with a token. */
  retry(token) {
    this.token = token;
    sessionStorage.setItem("token", token);
    this.open();
  }

  /** Sends values {name: value}. `answered` gets the ack or the error. */
  set(values, answered = () => {}) {
    this.ask({ type: "set", values }, answered);
  }

  /** Does an action; `answered` gets the result or the error. */
  call(action, args = [], answered = () => {}) {
    this.ask({ type: "call", action, args }, answered);
  }

  ask(message, answered) {
    const id = this.nextId++;
    if (this.send({ ...message, id })) this.waiting.set(id, answered);
    else {
      answered({ type: "error", message: "not connected, not sent" });
      this.on.unsent();
    }
  }

  send(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** The HTTP API, for what is not on the socket; null where there is none or it refuses. */
  async api(method, path, body) {
    const headers = { "Content-Type": "application/json" };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    const answer = await response.json().catch(() => null);
    return { ok: response.ok, status: response.status, answer };
  }
}

/** From the address' fragment, which no server sees and no history keeps. */
function tokenFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const found = fragment.get("token");
  if (found) {
    sessionStorage.setItem("token", found);
    history.replaceState(null, "", location.pathname + (fragment.has("dock") ? "#dock" : ""));
  }
  return found ?? sessionStorage.getItem("token") ?? "";
}
