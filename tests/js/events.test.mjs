// The transport over HTTP, with a real server that the test scripts.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";

import { events } from "../../src/fullduplex/static/fullduplex/events.js";
import { WELCOME } from "./fakes.mjs";

const POSITION = { offset: 4, epoch: "a" };

/** A server that keeps what was asked; the test answers. */
async function serve(context) {
  const server = createServer();
  const requests = [];
  const waiting = [];
  server.on("request", async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    const asked = { request, response, body, url: new URL(request.url, "http://a"), headers: request.headers };
    if (waiting.length) waiting.shift()(asked);
    else requests.push(asked);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = new URL(`http://127.0.0.1:${server.address().port}/events/`);
  const next = async () => requests.shift() ?? new Promise((resolve) => waiting.push(resolve));
  return { url, next };
}

/** A transport, and what it told; `told()` waits for the next. */
function dial(url, { groups = [], token = null, guessed = false } = {}) {
  const list = [];
  const waiting = [];
  const tell = (what) => (waiting.length ? waiting.shift()(what) : list.push(what));
  const wants = { groups: () => groups, token: async () => token };
  const transport = events(url, { csrfToken: () => "csrf", guessed })(wants)({
    came: tell,
    heard: () => {},
    ended: tell,
  });
  return { transport, told: async () => list.shift() ?? new Promise((resolve) => waiting.push(resolve)), list };
}

function stream({ response }) {
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
  return (message) => response.write(`data: ${JSON.stringify(message)}\n\n`);
}

function subscribed(group, position, recovered = true) {
  return { type: "subscribed", group, recovered, position };
}

test("a stream for all groups, behind their positions", async (context) => {
  const { url, next } = await serve(context);
  const groups = [{ group: "chat.1", position: POSITION }, { group: "news", position: null }];
  const { transport, told } = dial(url, { groups, token: "secret" });
  const asked = await next();
  assert.equal(asked.url.search, "?group=chat.1&group=news");
  assert.equal(asked.headers["last-event-id"], "4:a,");
  assert.equal(asked.headers.authorization, "Bearer secret");
  const say = stream(asked);
  say({ ...WELCOME, token: true });
  assert.deepEqual(await told(), WELCOME);
  transport.send('{"id":1,"type":"subscribe","group":"chat.1"}');
  transport.send('{"id":2,"type":"subscribe","group":"news"}');
  say(subscribed("chat.1", POSITION));
  say({ type: "unsubscribed", group: "news", code: "forbidden", reason: "no" });
  say({ type: "message", group: "chat.1", offset: 5, data: {} });
  assert.deepEqual(await told(), { ...subscribed("chat.1", POSITION), id: 1 });
  assert.deepEqual(await told(), { type: "error", id: 2, code: "forbidden", message: "no" });
  assert.deepEqual(await told(), { type: "message", group: "chat.1", offset: 5, data: {} });
  asked.response.end();
  assert.deepEqual(await told(), { code: 1006, reason: "The stream has ended." });
});

test("a further group is another stream, and what it may have cost the others is told", async (context) => {
  const { url, next } = await serve(context);
  const groups = [{ group: "a", position: POSITION }, { group: "b", position: null }];
  const { transport, told, list } = dial(url, { groups });
  const first = await next();
  const gone = once(first.response, "close");
  const say = stream(first);
  say(WELCOME);
  await told();
  transport.send('{"id":1,"type":"subscribe","group":"a"}');
  transport.send('{"id":2,"type":"subscribe","group":"b"}');
  say(subscribed("a", POSITION));
  say(subscribed("b", null));
  await told();
  await told();
  groups.push({ group: "c", position: null }, { group: "d", position: null });
  transport.send('{"id":3,"type":"subscribe","group":"c"}');
  transport.send('{"id":4,"type":"subscribe","group":"d"}');
  const second = await next();
  await gone;
  assert.equal(second.url.search, "?group=a&group=b&group=c&group=d");
  const sayOn = stream(second);
  for (const message of [WELCOME, subscribed("a", POSITION), subscribed("b", null), subscribed("c", null)]) sayOn(message);
  assert.deepEqual(await told(), { type: "gap", group: "b", position: null });
  assert.deepEqual(await told(), { ...subscribed("c", null), id: 3 });
  assert.deepEqual(list, []);
  transport.close();
});

test("who leaves a group hears no more of it, and may come back", async (context) => {
  const { url, next } = await serve(context);
  const { transport, told } = dial(url, { groups: [{ group: "a", position: null }] });
  const say = stream(await next());
  say(WELCOME);
  await told();
  transport.send('{"id":1,"type":"subscribe","group":"a"}');
  say(subscribed("a", null));
  await told();
  transport.send('{"id":2,"type":"unsubscribe","group":"a"}');
  assert.deepEqual(await told(), { type: "reply", id: 2 });
  say({ type: "message", group: "a", data: 1 });
  transport.send('{"id":3,"type":"subscribe","group":"a"}');
  const sayOn = stream(await next());
  sayOn(WELCOME);
  sayOn(subscribed("a", null));
  assert.deepEqual(await told(), { ...subscribed("a", null), id: 3 });
  transport.close();
});

test("requests go by POST, publishes one behind the other", async (context) => {
  const { url, next } = await serve(context);
  const { transport, told } = dial(url);
  assert.equal((await told()).type, "welcome");
  transport.send('{"id":1,"type":"publish","group":"a","data":{}}');
  transport.send('{"id":2,"type":"publish","group":"a","data":{}}');
  transport.send('{"id":3,"type":"call","method":"echo"}');
  const asked = [await next(), await next()];
  assert.deepEqual(asked.map(({ body }) => JSON.parse(body).id).sort(), [1, 3]);
  assert.equal(asked[0].request.method, "POST");
  assert.equal(asked[0].headers["x-csrftoken"], "csrf");
  const answer = ({ response }, status, body) => {
    response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  };
  for (const each of asked) answer(each, 200, { type: "reply", position: POSITION });
  assert.deepEqual([(await told()).id, (await told()).id].sort(), [1, 3]);
  answer(await next(), 403, { type: "error", code: "forbidden", message: "no" });
  assert.deepEqual(await told(), { type: "error", id: 2, code: "forbidden", message: "no" });
  transport.send('{"id":4,"type":"call","method":"echo"}');
  (await next()).response.writeHead(403, { "Content-Type": "text/html" }).end("CSRF");
  assert.deepEqual(await told(), { type: "error", id: 4, code: "forbidden", message: "HTTP status 403" });
  transport.send('{"id":5,"type":"publish","group":"a","data":{}}');
  (await next()).response.writeHead(502).end();
  assert.deepEqual(await told(), { code: 1006, reason: "HTTP status 502" });
});

for (const [title, status, fields, end, guessed] of [
  ["unauthorized", 401, {}, 3000],
  ["forbidden", 403, {}, 3003],
  ["not found", 404, {}, 1008],
  ["not found where it was guessed", 404, {}, 1006, true],
  ["a server that restarts", 503, {}, 1006],
  ["a page of somebody else, such as a portal of a hotel", 200, { "Content-Type": "text/html" }, 1006],
]) {
  test(`a stream that is refused: ${title}`, async (context) => {
    const { url, next } = await serve(context);
    const { told } = dial(url, { groups: [{ group: "a", position: null }], guessed });
    (await next()).response.writeHead(status, fields).end();
    assert.equal((await told()).code, end);
  });
}

test("a stream that leads to a login is unauthorized", async (context) => {
  const { url, next } = await serve(context);
  const { told } = dial(url, { groups: [{ group: "a", position: null }] });
  (await next()).response.writeHead(302, { Location: "/login/" }).end();
  (await next()).response.writeHead(200, { "Content-Type": "text/html" }).end("Who are you?");
  assert.equal((await told()).code, 3000);
});

test("a server that is not there is a lost connection", async () => {
  const { told } = dial(new URL("http://127.0.0.1:1/"), { groups: [{ group: "a", position: null }] });
  assert.equal((await told()).code, 1006);
});
