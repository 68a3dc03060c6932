// Worker around ONNX Runtime Web: node wasm_worker.mjs FOLDER_OF_THE_PACKAGE
// The messages are described in wire.py.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import os from "node:os";

const folder = process.argv[2];
const require = createRequire(join(folder, "package.json"));
const version = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).version;
// Libraries may log; replies must be alone on standard output.
const reply_to = process.stdout.write.bind(process.stdout);
console.log = console.info = console.warn = console.error;
const ort = require(join(folder, "dist", "ort.node.min.js"));
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

function send(header, blobs = []) {
  const size = blobs.reduce((sum, blob) => sum + blob.byteLength, 0);
  const text = Buffer.from(JSON.stringify({ ...header, size }), "utf8");
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  reply_to(Buffer.concat([length, text, ...blobs]));
}

const sessions = new Map();

async function answer(header, blob) {
  if (header.op === "load") {
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
    sessions.set(header.key, await ort.InferenceSession.create(new Uint8Array(blob), options));
    send({});
    return;
  }
  const session = sessions.get(header.key);
  const feeds = {};
  let at = 0;
  for (const [name, dims] of header.tensors) {
    const count = dims.reduce((product, dim) => product * dim, 1);
    const data = new Float32Array(count);
    new Uint8Array(data.buffer).set(blob.subarray(at, at + 4 * count));
    at += 4 * count;
    if (session.inputNames.includes(name)) feeds[name] = new ort.Tensor("float32", data, dims);
  }
  const results = await session.run(feeds, header.outputs);
  const tensors = header.outputs.map((name) => [name, results[name].dims]);
  const blobs = header.outputs.map((name) => {
    const data = results[name].data;
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  });
  send({ tensors }, blobs);
}

send({
  version: `onnxruntime-web ${version}`,
  device: `WebAssembly in Node ${process.version} on ${os.cpus()[0]?.model ?? os.arch()}`,
  flags: { opt: "all" },
  threads: 1,
});

let waiting = [];
let waiting_size = 0;
for await (const chunk of process.stdin) {
  waiting.push(chunk);
  waiting_size += chunk.length;
  // Chunks are only joined once a message may be whole.
  if (waiting_size < (waiting.needed ?? 0)) continue;
  let data = Buffer.concat(waiting);
  let needed = 0;
  for (;;) {
    if (data.length < 4) break;
    const start = 4 + data.readUInt32LE(0);
    if (data.length < start) break;
    const header = JSON.parse(data.toString("utf8", 4, start));
    if (data.length < start + header.size) {
      needed = start + header.size;
      break;
    }
    try {
      await answer(header, data.subarray(start, start + header.size));
    } catch (error) {
      send({ error: `ONNX Runtime Web: ${error.message ?? error}` });
    }
    data = data.subarray(start + header.size);
  }
  waiting = [data];
  waiting.needed = needed;
  waiting_size = data.length;
}
