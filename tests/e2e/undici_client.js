// undici over HTTP/2 and TLS: many fetches at once, uploads, early answers, a response cut short.
const { readFileSync } = require("node:fs");

const [, , url, ca, undici] = process.argv;
const { Agent, fetch } = require(undici);
const dispatcher = new Agent({ allowH2: true, connections: 1, connect: { ca: readFileSync(ca) } });

async function text(path, options = {}) {
  const answer = await fetch(url + path, { dispatcher, ...options });
  return answer.text();
}

function upload(path, size) {
  return text(path, { method: "POST", body: Buffer.alloc(size) });
}

async function main() {
  const result = {
    hello: await text("/"),
    pages: (await Promise.all(Array.from({ length: 40 }, () => text("/big")))).map((page) => page.length),
    uploads: await Promise.all(Array.from({ length: 20 }, () => upload("/count", 200_000))),
    early: await upload("/early", 500_000),
    refused: await upload("/refuse", 500_000),
    parts: await text("/parts"),
    cut: await text("/cut").then(() => "whole", () => "an error"),
    after: await text("/"),
  };
  console.log(JSON.stringify(result));
  await dispatcher.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
