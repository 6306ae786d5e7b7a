// A client of HTTP/2 in Node: many requests at once, an early hint, trailers, a WebSocket (RFC 8441), a response cut short.
const http2 = require("node:http2");

const session = http2.connect(process.argv[2]);
session.on("error", (error) => { console.error(error); process.exit(1); });

function request(path, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const stream = session.request({ ":path": path, ":method": method, ...headers }, { endStream: body === undefined });
    const seen = { text: "", hints: 0 };
    stream.on("headers", (fields) => { seen.hints += fields[":status"] === 103; });
    stream.on("response", (fields) => { seen.status = fields[":status"]; seen.fields = fields; });
    stream.on("trailers", (fields) => { seen.trailers = fields; });
    stream.on("data", (data) => { seen.text += data; });
    stream.on("end", () => resolve(seen));
    stream.on("error", reject);
    if (body !== undefined) stream.end(body);
  });
}

function socket() {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ":method": "CONNECT", ":protocol": "websocket", ":path": "/ws", "sec-websocket-version": "13",
    });
    const frame = Buffer.from([0x81, 0x85, 0, 0, 0, 0, ...Buffer.from("hello")]);
    const close = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);
    let got = Buffer.alloc(0);
    stream.on("response", (fields) => { if (fields[":status"] !== 200) reject(fields); else stream.write(frame); });
    stream.on("data", (data) => {
      got = Buffer.concat([got, data]);
      if (got.length === 7) stream.end(close);
    });
    stream.on("end", () => resolve(got.toString("latin1")));
    stream.on("error", reject);
  });
}

session.once("remoteSettings", async (settings) => {
  const uploads = Array.from({ length: 20 }, () => request("/count", Buffer.alloc(200000)));
  const pages = Array.from({ length: 40 }, () => request("/big"));
  const parts = await request("/parts");
  const early = await request("/early", Buffer.alloc(500000));
  const result = {
    connect: settings.enableConnectProtocol,
    uploads: (await Promise.all(uploads)).map((seen) => seen.text),
    pages: (await Promise.all(pages)).map((seen) => seen.text.length),
    parts: [parts.text, parts.hints, parts.trailers["x-sum"]].concat(parts.fields.connection || []),
    early: early.text,
    cookies: (await request("/cookies", undefined, { cookie: ["a=b", "c=d"], te: "trailers" })).text,
    cut: await request("/cut").then(() => "whole", (error) => error.message),
    socket: await socket(),
  };
  console.log(JSON.stringify(result));
  session.close();
});
