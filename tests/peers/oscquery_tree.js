// Reads the address space of a host as npm `oscquery` understands it: node oscquery_tree.js HOST PORT
"use strict";
const { OSCQueryDiscovery } = require("oscquery");

async function main([host, port]) {
  const service = await new OSCQueryDiscovery().queryNewService(host, Number(port));
  const named = ["/sdv2/steps", "/sdv2/prompt/value", "/sdv2/transition"];
  const found = Object.fromEntries(named.map((path) => [path, service.resolvePath(path) !== null]));
  const out = { hostInfo: service.hostInfo, methods: service.flat(), found };
  process.stdout.write(JSON.stringify(out));
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
