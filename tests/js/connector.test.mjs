// When it connects, over what, and when it stops: the whole client, on a network that the test plays.

import assert from "node:assert/strict";
import { test } from "node:test";

import { makeClient, makeListener, settle } from "./fakes.mjs";

const LAST = 0.999999;

test("the first attempt is at once, and a socket", () => {
  const { client, network, statuses } = makeClient();
  assert.equal(network.sockets.length, 1);
  assert.deepEqual(statuses, ["connecting"]);
  network.socket.welcome();
  assert.deepEqual(statuses, ["connecting", "connected"]);
  assert.equal(client.status.transport, "websocket");
});

test("waits double up to a bound, with full jitter", async () => {
  const { client, clock, network } = makeClient({}, { events: false, random: () => LAST });
  const waits = [];
  for (let attempt = 0; attempt < 9; attempt++) {
    const lostAt = clock.now();
    network.socket.end();
    waits.push(Math.round((client.status.retryAt - lostAt) / 1000));
    await clock.pass(client.status.retryAt - lostAt);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
  const early = makeClient({}, { events: false, random: () => 0 });
  early.network.socket.end();
  await early.clock.pass(0);
  assert.equal(early.network.sockets.length, 2);
});

test("a connection that lasted begins the waits anew; one that did not does not", async () => {
  const { client, clock, network } = makeClient({}, { events: false });
  for (let attempt = 1; attempt <= 4; attempt++) {
    network.socket.welcome();
    network.socket.end();
    assert.equal(client.status.attempt, attempt);
    await network.nextSocket(clock);
  }
  network.socket.welcome();
  await clock.pass(10_000);
  network.socket.end();
  assert.equal(client.status.attempt, 1);
});

test("final close codes stop, and all that waited is told", async () => {
  const { client, clock, network, page, statuses } = makeClient();
  network.socket.welcome();
  const publish = client.publish("chat.1", {});
  network.socket.end(4600, "You are out.");
  await assert.rejects(publish, { code: "closed", message: "You are out." });
  await assert.rejects(client.call("echo"), { code: "closed" });
  assert.deepEqual([client.status.state, client.status.code, client.status.reason], ["closed", 4600, "You are out."]);
  assert.deepEqual(statuses, ["connecting", "connected", "closed"]);
  assert.throws(() => client.subscribe("chat.1", {}), { code: "closed" });
  await clock.pass(3_600_000);
  assert.equal(network.sockets.length, 1);
  assert.equal(clock.timerCount, 0);
  assert.ok(page.left);
});

test("a server that speaks something else is left for good", () => {
  const { client, network } = makeClient();
  network.socket.say({ type: "hello" });
  network.socket.say({ type: "welcome", protocol: "other.v9" });
  assert.equal(network.socket.closed.code, 4500);
  assert.equal(client.status.code, 4500);
});

test("a connection that is silent is left without waiting for its close", async () => {
  const { client, clock, network } = makeClient();
  network.socket.welcome();
  await clock.pass(51_000);
  assert.deepEqual(network.sockets[0].closed, { code: 4000, reason: "The server was silent." });
  assert.notEqual(network.sockets.length, 1);
  network.sockets[0].say({ type: "message", group: "a", data: 1 }); // late: nobody listens
  network.sockets[0].end();
  assert.equal(client.status.state, "reconnecting");
});

test("blocked sockets: events carry us after two failures", async () => {
  const { client, clock, network } = makeClient();
  network.socket.end();
  await clock.pass(1_000);
  network.socket.end();
  assert.equal(network.streams.length, 0);
  await clock.pass(2_000);
  assert.deepEqual([network.sockets.length, network.streams.length], [2, 1]);
  network.stream.welcome();
  assert.deepEqual([client.status.state, client.status.transport], ["connected", "events"]);
});

test("a handshake that nobody answers costs ten seconds once", async () => {
  const { clock, network } = makeClient();
  await clock.pass(10_000);
  assert.ok(network.sockets[0].closed);
  await clock.pass(1_000);
  assert.equal(network.streams.length, 1);
});

test("without events sockets are tried on and on", async () => {
  const { clock, network } = makeClient({}, { events: false });
  for (let attempt = 0; attempt < 6; attempt++) {
    network.socket.end();
    await network.nextSocket(clock);
  }
});

async function carriedByEvents(options) {
  const world = makeClient(options);
  await world.clock.pass(11_000);
  world.network.stream.welcome();
  return world;
}

test("who was carried by events comes back by events", async () => {
  const { clock, network } = await carriedByEvents();
  network.stream.end();
  await clock.pass(1_000);
  assert.deepEqual([network.sockets.length, network.streams.length], [1, 2]);
});

test("the way back: a socket is tried beside the events, takes over, and goes on behind the positions", async () => {
  const { client, clock, network, statuses } = await carriedByEvents();
  const { heard, ...listener } = makeListener();
  client.subscribe("chat.1", listener);
  network.stream.say({ type: "subscribed", id: 1, group: "chat.1", recovered: true, position: { offset: 4, epoch: "a" } });
  await clock.pass(20_000);
  assert.equal(network.sockets.length, 2);
  network.socket.end(); // still blocked
  assert.equal(client.status.transport, "events");
  network.stream.handlers.heard();
  (await network.nextSocket(clock)).welcome();
  assert.equal(client.status.transport, "websocket");
  assert.deepEqual(network.stream.closed, { code: 1000, reason: "" });
  assert.deepEqual(network.socket.take(), [{ id: 1, type: "subscribe", group: "chat.1", after: { offset: 4, epoch: "a" } }]);
  network.socket.say({ type: "subscribed", id: 1, group: "chat.1", recovered: true, position: { offset: 4, epoch: "a" } });
  assert.deepEqual(heard, [{ subscribed: true }, { subscribed: true }]);
  assert.deepEqual(statuses, ["connecting", "connected"]);
  network.socket.end();
  await clock.pass(1_000);
  assert.equal(network.sockets.length, 4);
});

test("who looks at a page that events carry tries a socket, but not each time", async () => {
  const { clock, network, page } = await carriedByEvents();
  page.nudge();
  await clock.pass(0);
  network.socket.end();
  page.nudge();
  await clock.pass(0);
  assert.equal(network.sockets.length, 2);
  await clock.pass(9_999);
  page.nudge();
  await clock.pass(1);
  page.nudge();
  await clock.pass(0);
  assert.equal(network.sockets.length, 3);
});

test("the way back waits for a call that is on its way", async () => {
  const { client, clock, network } = await carriedByEvents();
  const call = client.call("echo", 1);
  await clock.pass(20_000);
  network.socket.welcome();
  assert.equal(client.status.transport, "events");
  network.stream.say({ type: "reply", id: 1, result: 1 });
  assert.equal(await call, 1);
  await clock.pass(1_000);
  assert.equal(client.status.transport, "websocket");
});

test("a nudge cuts a wait short, but not more often than once a second", async () => {
  const { clock, network, page } = makeClient({}, { events: false, random: () => LAST });
  for (let attempt = 0; attempt < 5; attempt++) {
    network.socket.end();
    await clock.pass(16_000);
  }
  const before = network.sockets.length;
  network.socket.end();
  page.nudge();
  assert.equal(network.sockets.length, before + 1);
  network.socket.end();
  page.nudge();
  page.nudge();
  assert.equal(network.sockets.length, before + 1);
  await clock.pass(1_000);
  page.nudge();
  assert.equal(network.sockets.length, before + 2);
});

test("a nudge or a doubt asks a connection that stands whether it does", async () => {
  const { clock, network, page } = makeClient();
  network.socket.welcome();
  page.nudge();
  assert.deepEqual(network.socket.take(), [{ type: "ping" }]);
  network.socket.say({ type: "pong" });
  page.doubt();
  assert.deepEqual(network.socket.take(), [{ type: "ping" }]);
  await clock.pass(16_000);
  assert.equal(network.sockets.length, 2);
});

test("a page that is put away hangs up, and resumes when it is back", async () => {
  const { client, clock, network, page, statuses } = makeClient();
  const { heard, ...listener } = makeListener();
  client.subscribe("chat.1", listener);
  network.socket.welcome();
  network.socket.say({ type: "subscribed", id: 1, group: "chat.1", recovered: true, position: { offset: 4, epoch: "a" } });
  const call = client.call("echo");
  const publish = client.publish("chat.1", { n: 1 }, { key: "k" });
  page.hide();
  assert.deepEqual(network.socket.closed, { code: 1000, reason: "" });
  await assert.rejects(call, { code: "lost" });
  await clock.pass(3_600_000);
  assert.deepEqual([network.sockets.length, clock.timerCount], [1, 0]);
  page.show();
  page.show();
  assert.equal(network.sockets.length, 2);
  network.socket.welcome();
  assert.deepEqual(network.socket.take(), [
    { id: 1, type: "subscribe", group: "chat.1", after: { offset: 4, epoch: "a" } },
    { id: 2, type: "publish", group: "chat.1", data: { n: 1 }, key: "k" },
  ]);
  network.socket.say({ type: "reply", id: 2, position: { offset: 5, epoch: "a" } });
  assert.deepEqual(await publish, { position: { offset: 5, epoch: "a" }, key: "k" });
  assert.deepEqual(statuses, ["connecting", "connected", "reconnecting", "connected"]);
});

test("closing hangs up, and nothing comes after it", async () => {
  const { client, clock, network, page } = makeClient();
  network.socket.welcome();
  client.close();
  client.close();
  page.show();
  page.nudge();
  await clock.pass(60_000);
  assert.deepEqual([network.sockets.length, client.status.state, clock.timerCount], [1, "closed", 0]);
});

test("what the page's callbacks raise ends nothing of ours", async () => {
  const raised = [];
  globalThis.reportError = (error) => raised.push(error.message);
  try {
    const { client, network } = makeClient({
      onStatus: () => {
        throw new Error("status");
      },
    });
    client.subscribe("a", {
      onMessage: () => {
        throw new Error("message");
      },
    });
    network.socket.welcome();
    network.socket.say({ type: "subscribed", id: 1, group: "a", recovered: true, position: null });
    network.socket.say({ type: "message", group: "a", data: 1 });
    network.socket.say({ type: "message", group: "a", data: 2 });
    await settle();
    assert.deepEqual(raised, ["status", "status", "message", "message"]);
  } finally {
    delete globalThis.reportError;
  }
});
