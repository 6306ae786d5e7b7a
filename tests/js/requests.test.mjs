// Publishes, calls, subscriptions and tokens: what is asked, in which order, and what becomes of it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { makeClient, makeListener, settle } from "./fakes.mjs";

const POSITION = { offset: 1, epoch: "a" };

test("what is asked before there is a connection waits for it, in order, behind the subscriptions", async () => {
  const { client, network } = makeClient();
  const first = client.publish("chat.1", { n: 1 }, { key: "a" });
  const call = client.call("echo", [1]);
  const second = client.publish("chat.1", { n: 2 }, { key: "b" });
  client.subscribe("chat.1", {});
  assert.equal(client.pendingCount, 3);
  network.socket.welcome();
  assert.deepEqual(network.socket.take(), [
    { id: 1, type: "subscribe", group: "chat.1" },
    { id: 2, type: "publish", group: "chat.1", data: { n: 1 }, key: "a" },
    { id: 3, type: "call", method: "echo", params: [1] },
    { id: 4, type: "publish", group: "chat.1", data: { n: 2 }, key: "b" },
  ]);
  network.socket.say({ type: "reply", id: 4, position: null });
  network.socket.say({ type: "reply", id: 3, result: [1] });
  network.socket.say({ type: "reply", id: 2, position: POSITION });
  assert.deepEqual(await first, { position: POSITION, key: "a" });
  assert.deepEqual(await second, { position: null, key: "b" });
  assert.deepEqual(await call, [1]);
  assert.equal(client.pendingCount, 0);
});

test("publishes without an answer go out again with their keys, over any number of losses", async () => {
  const { client, clock, network } = makeClient({}, { events: false });
  network.socket.welcome();
  const publishes = [1, 2, 3].map((n) => client.publish("chat.1", { n }));
  const [first, second, third] = network.socket.take();
  assert.equal(new Set([first.key, second.key, third.key]).size, 3);
  assert.match(first.key, /^[0-9a-f]{32}$/);
  network.socket.say({ type: "reply", id: first.id, position: POSITION });
  for (let loss = 0; loss < 3; loss++) {
    network.socket.end();
    (await network.nextSocket(clock)).welcome();
    assert.deepEqual(network.socket.take(), [{ ...second, id: 1 }, { ...third, id: 2 }]);
  }
  network.socket.say({ type: "reply", id: 1, position: POSITION });
  network.socket.say({ type: "reply", id: 2, position: POSITION });
  assert.equal((await Promise.all(publishes)).length, 3);
});

test("an error that passes is no failure of a publish; any other is", async () => {
  const { client, clock, network } = makeClient();
  network.socket.welcome();
  const publish = client.publish("chat.1", { n: 1 }, { key: "a" });
  const call = client.call("echo");
  for (const code of ["unavailable", "timeout", "limit"]) {
    const request = network.socket.take().find(({ type }) => type === "publish");
    assert.equal(request.key, "a");
    network.socket.say({ type: "error", id: request.id, code, message: "" });
    assert.deepEqual(network.socket.take(), []);
    network.socket.say({ type: "ping" });
    await clock.pass(5_000);
  }
  network.socket.say({ type: "error", id: 2, code: "unavailable", message: "later" });
  await assert.rejects(call, { code: "unavailable", message: "later" });
  const request = network.socket.take().find(({ type }) => type === "publish");
  network.socket.say({ type: "error", id: request.id, code: "forbidden", message: "no" });
  await assert.rejects(publish, { name: "ClientError", code: "forbidden", message: "no" });
});

test("time is limited where it is asked for, and always for calls", async () => {
  const { client, clock, network } = makeClient();
  const publish = client.publish("chat.1", {}, { timeoutMs: 2_000 });
  const call = client.call("echo");
  await Promise.all([assert.rejects(publish, { code: "timeout" }), clock.pass(2_000)]);
  await Promise.all([assert.rejects(call, { code: "timeout" }), clock.pass(28_000)]);
  network.socket.welcome();
  assert.deepEqual(network.socket.take(), []);
});

test("what waits is bounded, by number and by size", async () => {
  const { client } = makeClient({ pendingMostCount: 2, pendingMostBytes: 1_000 });
  client.publish("a", {}).catch(() => {});
  await assert.rejects(client.publish("a", { text: "x".repeat(1_000) }), { code: "full" });
  client.publish("a", {}).catch(() => {});
  await assert.rejects(client.publish("a", {}), { code: "full" });
  assert.equal(client.pendingCount, 2);
});

test("what is longer than the server takes is refused here, since it would end the connection", async () => {
  const { client, network } = makeClient();
  const early = client.publish("a", { text: "é".repeat(600) });
  network.socket.welcome({ max_message_bytes: 1024 });
  await assert.rejects(early, { code: "too_large" });
  await assert.rejects(client.call("a", "x".repeat(1024)), { code: "too_large" });
  assert.deepEqual(network.socket.take(), []);
});

test("no more is on its way than the server takes at a time", async () => {
  const { client, network } = makeClient();
  for (const group of ["a", "b", "c"]) client.subscribe(group, {});
  client.publish("a", {}).catch(() => {});
  network.socket.welcome({ max_requests: 2 });
  assert.deepEqual(network.socket.take().map(({ group }) => group), ["a", "b"]);
  network.socket.say({ type: "subscribed", id: 2, group: "b", recovered: true, position: null });
  assert.deepEqual(network.socket.take().map(({ id, group }) => [id, group]), [[3, "c"]]);
  network.socket.say({ type: "subscribed", id: 1, group: "a", recovered: true, position: null });
  assert.deepEqual(network.socket.take().map(({ id, type }) => [id, type]), [[4, "publish"]]);
});

test("no more bytes are on their way than a server takes, and one that waits holds those behind it in its group", async () => {
  const { client, clock, network } = makeClient();
  network.socket.welcome({ max_message_bytes: 200_000 });
  const publish = (group, n, size = 0) => client.publish(group, { n, text: "x".repeat(size) }).catch(() => {});
  const sent = () => network.socket.take().filter(({ type }) => type === "publish").map(({ id, data }) => [id, data.n]);
  publish("a", 1);
  assert.deepEqual(sent(), [[1, 1]]);
  network.socket.say({ type: "error", id: 1, code: "unavailable", message: "" });
  publish("a", 2);
  publish("b", 3, 150_000);
  publish("b", 4, 150_000);
  publish("b", 5);
  assert.deepEqual(sent(), [[2, 3]]);
  await clock.pass(500);
  assert.deepEqual(sent(), [[3, 1], [4, 2]]);
  network.socket.say({ type: "reply", id: 2, position: null });
  assert.deepEqual(sent(), [[5, 4], [6, 5]]);
});

test("subscriptions go on behind their positions; without one, something may be missing", async () => {
  const { client, clock, network } = makeClient({}, { events: false });
  const [kept, plain] = [makeListener(), makeListener()];
  const room = client.subscribe("kept", { ...kept, after: { offset: 7, epoch: "a" } });
  client.subscribe("plain", plain);
  network.socket.welcome();
  assert.deepEqual(network.socket.take().map(({ after }) => after), [{ offset: 7, epoch: "a" }, undefined]);
  network.socket.say({ type: "subscribed", id: 1, group: "kept", recovered: true, position: { offset: 7, epoch: "a" } });
  network.socket.say({ type: "subscribed", id: 2, group: "plain", recovered: true, position: null });
  network.socket.say({ type: "message", group: "kept", offset: 8, data: "eight" });
  assert.deepEqual(room.position, { offset: 8, epoch: "a" });
  network.socket.end();
  await clock.pass(1_000);
  network.socket.welcome();
  assert.deepEqual(network.socket.take().map(({ after }) => after), [{ offset: 8, epoch: "a" }, undefined]);
  network.socket.say({ type: "subscribed", id: 1, group: "kept", recovered: true, position: { offset: 8, epoch: "a" } });
  network.socket.say({ type: "subscribed", id: 2, group: "plain", recovered: true, position: null });
  network.socket.say({ type: "message", group: "kept", offset: 8, data: "eight" });
  assert.deepEqual(kept.heard, [{ subscribed: true }, { message: "eight", offset: 8 }, { subscribed: true }]);
  assert.deepEqual(plain.heard, [{ subscribed: true }, { subscribed: false }, { gap: null }]);
});

test("listeners of one group share a subscription, which ends with the last", async () => {
  const { client, network } = makeClient();
  const [one, two] = [makeListener(), makeListener()];
  const first = client.subscribe("a", one);
  network.socket.welcome();
  network.socket.say({ type: "subscribed", id: 1, group: "a", recovered: true, position: POSITION });
  const second = client.subscribe("a", two);
  await settle();
  assert.throws(() => client.subscribe("a", { after: POSITION }), /too late/);
  network.socket.say({ type: "message", group: "a", offset: 2, data: 2 });
  first.unsubscribe();
  first.unsubscribe();
  network.socket.say({ type: "message", group: "a", offset: 3, data: 3 });
  assert.equal(network.socket.take().length, 1);
  second.unsubscribe();
  assert.deepEqual(network.socket.take(), [{ id: 2, type: "unsubscribe", group: "a" }]);
  assert.deepEqual(one.heard, [{ subscribed: true }, { message: 2, offset: 2 }]);
  assert.deepEqual(two.heard, [{ subscribed: true }, { message: 2, offset: 2 }, { message: 3, offset: 3 }]);
});

test("what is on its way of a subscription that has ended is not the next one's", () => {
  const { client, network } = makeClient();
  network.socket.welcome();
  client.subscribe("a", {}).unsubscribe();
  const { heard, ...listener } = makeListener();
  client.subscribe("a", listener);
  network.socket.say({ type: "subscribed", id: 1, group: "a", recovered: true, position: { offset: 5, epoch: "a" } });
  network.socket.say({ type: "message", group: "a", offset: 6, data: "old" });
  network.socket.say({ type: "reply", id: 2 });
  network.socket.say({ type: "subscribed", id: 3, group: "a", recovered: true, position: { offset: 6, epoch: "a" } });
  network.socket.say({ type: "message", group: "a", offset: 7, data: "new" });
  assert.deepEqual(heard, [{ subscribed: true }, { message: "new", offset: 7 }]);
});

test("a subscription that is refused for now is tried again, one that is forbidden is over", async () => {
  const { client, clock, network } = makeClient();
  const { heard, ...listener } = makeListener();
  client.subscribe("a", listener);
  network.socket.welcome();
  network.socket.take();
  network.socket.say({ type: "error", id: 1, code: "limit", message: "" });
  await clock.pass(5_000);
  assert.deepEqual(network.socket.take(), [{ id: 2, type: "subscribe", group: "a" }]);
  network.socket.say({ type: "subscribed", id: 2, group: "a", recovered: true, position: POSITION });
  network.socket.say({ type: "unsubscribed", group: "a", code: "unavailable", reason: "" });
  await clock.pass(5_000);
  assert.deepEqual(network.socket.take(), [{ id: 3, type: "subscribe", group: "a", after: POSITION }]);
  network.socket.say({ type: "subscribed", id: 3, group: "a", recovered: true, position: POSITION });
  network.socket.say({ type: "unsubscribed", group: "a", code: "forbidden", reason: "out" });
  await clock.pass(60_000);
  assert.deepEqual(network.socket.take().filter(({ type }) => type === "subscribe"), []);
  assert.deepEqual(heard, [{ subscribed: true }, { subscribed: true }, { unsubscribed: "forbidden" }]);
});

test("a token comes first, and another before it ends", async () => {
  const tokens = ["one", "two", "three"];
  const { client, clock, network, statuses } = makeClient({ token: () => tokens.shift() });
  client.subscribe("a", {});
  network.socket.welcome({ token: true });
  await settle();
  assert.deepEqual(network.socket.take(), [{ id: 1, type: "token", token: "one" }]);
  assert.deepEqual(statuses, ["connecting"]);
  network.socket.say({ type: "reply", id: 1, expires_in_s: 20 });
  assert.deepEqual(network.socket.take(), [{ id: 2, type: "subscribe", group: "a" }]);
  assert.deepEqual(statuses, ["connecting", "connected"]);
  await clock.pass(16_000);
  assert.deepEqual(network.socket.take(), [{ id: 3, type: "token", token: "two" }]);
  network.socket.say({ type: "reply", id: 3, expires_in_s: null });
});

test("a token that is not wanted is not asked for", () => {
  const { network, statuses } = makeClient({ token: () => assert.fail() });
  network.socket.welcome();
  assert.deepEqual(statuses, ["connecting", "connected"]);
});

test("an endpoint that asks for a token gets one or is left for good", async () => {
  const without = makeClient();
  without.network.socket.welcome({ token: true });
  assert.equal(without.client.status.code, 4501);

  const tokens = ["old", "older"];
  const refused = makeClient({ token: () => tokens.shift() });
  refused.network.socket.welcome({ token: true });
  for (const id of [1, 2]) {
    await settle();
    refused.network.socket.say({ type: "error", id, code: "unauthorized", message: "no" });
  }
  await settle();
  assert.deepEqual([refused.client.status.state, refused.client.status.code], ["closed", 4501]);
});

test("a token that cannot be had now is tried again with the connection", async () => {
  const answers = [() => Promise.reject(new Error("offline")), () => "good"];
  const { clock, network } = makeClient({ token: () => answers.shift()() });
  network.socket.welcome({ token: true });
  await settle();
  assert.ok(network.socket.closed);
  await clock.pass(1_000);
  network.socket.welcome({ token: true });
  await settle();
  assert.deepEqual(network.socket.take(), [{ id: 1, type: "token", token: "good" }]);
});
