// A lease from Node.js: no generated code, only the .proto files of this repository.
//
//   garbagetruck up --data-dir data            (in one terminal)
//   cd examples/node && npm install && node lease.js 127.0.0.1:7101
"use strict";

const path = require("node:path");
const { randomUUID } = require("node:crypto");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const protos = path.join(__dirname, "..", "..", "proto");
const definition = loader.loadSync(["google/rpc/status.proto", "garbagetruck/v1/lease.proto"], {
  includeDirs: [protos],
  keepCase: true,
  longs: Number, // tokens stay below 2^53, so that a JavaScript number holds them exactly
  enums: String,
  defaults: true,
});
const { garbagetruck } = grpc.loadPackageDefinition(definition);

async function main(endpoint) {
  const leases = new garbagetruck.v1.LeaseService(endpoint, grpc.credentials.createInsecure());
  const call = (method, request) =>
    promisify(leases[method].bind(leases))(request, { deadline: Date.now() + 5000 });
  try {
    const sentAt = performance.now(); // a lease counts from the moment of *sending*
    const { lease } = await call("Acquire", {
      request_id: randomUUID(), // makes a repetition harmless
      resource: "uploads/from-node",
      holder: "node-example",
      ttl_ms: 10000,
      cleanup: { handler: "file", parameters: { path: "from-node.txt" } },
    });
    const remaining = () => lease.remaining_ms - (performance.now() - sentAt);
    console.log(`acquired ${lease.resource} under token ${lease.fencing_token}, ${Math.round(remaining())} ms left`);

    const { remaining_ms } = await call("Renew", { lease_id: lease.id, request_id: randomUUID() });
    console.log(`renewed: ${remaining_ms} ms left`);

    await call("Release", { lease_id: lease.id, request_id: randomUUID() });
    console.log("released");
  } finally {
    leases.close();
  }
}

main(process.argv[2] ?? "127.0.0.1:7101").catch((error) => {
  // UNAVAILABLE is the one code to repeat on, with the same request_id; the README's client does it by itself.
  console.error(`${grpc.status[error.code] ?? "error"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
});
