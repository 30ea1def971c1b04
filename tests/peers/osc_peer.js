// npm osc against the host: node osc_peer.js udp|tcp PORT. Sets a value, subscribes, prints what it hears as JSON lines.
const osc = require("osc");
const [kind, port] = [process.argv[2], Number(process.argv[3])];
const link =
  kind === "udp"
    ? new osc.UDPPort({ localAddress: "127.0.0.1", localPort: 0, remoteAddress: "127.0.0.1", remotePort: port, metadata: true })
    : new osc.TCPSocketPort({ address: "127.0.0.1", port, metadata: true });
link.on("message", (message) => console.log(JSON.stringify([message.address, message.args.map((a) => a.value)])));
link.on("error", (error) => console.error(String(error)));
link.on("ready", () => {
  link.send({ address: "/sdv2/subscribe", args: [] });
  link.send({
    timeTag: osc.timeTag(0),
    packets: [
      { address: "/sdv2/steps", args: [{ type: "f", value: 3 }] },
      { address: "/sdv2/prompt", args: [{ type: "s", value: "npm rain café" }] },
      { address: "/sdv2/freeze", args: [{ type: "T", value: true }] },
    ],
  });
});
link.open(kind === "tcp" ? "127.0.0.1" : undefined, kind === "tcp" ? port : undefined);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
