import assert from "node:assert/strict";
import { test } from "node:test";

import { Heartbeat } from "../../src/fullduplex/static/fullduplex/heartbeat.js";
import { FakeClock } from "./fakes.mjs";

function makeHeartbeat({ asks = true, intervalMs = 25_000 } = {}) {
  const clock = new FakeClock();
  const told = { asked: 0, dead: 0 };
  const heartbeat = new Heartbeat(clock, intervalMs, asks ? () => told.asked++ : null, () => told.dead++);
  return { clock, told, heartbeat };
}

test("a peer that speaks is not asked", async () => {
  const { clock, told, heartbeat } = makeHeartbeat();
  for (let second = 0; second < 200; second += 20) {
    await clock.pass(20_000);
    heartbeat.heard();
  }
  assert.deepEqual(told, { asked: 0, dead: 0 });
});

test("a silent peer is asked once, and dead when no answer comes, within twice the interval", async () => {
  const { clock, told } = makeHeartbeat();
  await clock.pass(24_000);
  assert.deepEqual(told, { asked: 0, dead: 0 });
  await clock.pass(6_000);
  assert.deepEqual(told, { asked: 1, dead: 0 });
  await clock.pass(20_000);
  assert.deepEqual(told, { asked: 1, dead: 1 });
  assert.equal(clock.timerCount, 0);
});

test("a peer that answers lives", async () => {
  const { clock, told, heartbeat } = makeHeartbeat();
  for (let round = 1; round < 5; round++) {
    await clock.pass(30_000);
    assert.equal(told.asked, round);
    heartbeat.heard();
  }
  assert.equal(told.dead, 0);
});

test("a peer that cannot be asked has twice the interval", async () => {
  const { clock, told } = makeHeartbeat({ asks: false });
  await clock.pass(45_000);
  assert.equal(told.dead, 0);
  await clock.pass(10_000);
  assert.equal(told.dead, 1);
});

test("after a sleep the peer is asked, and given time for its answer", async () => {
  const { clock, told, heartbeat } = makeHeartbeat();
  await clock.pass(1_000);
  clock.sleep(3_600_000);
  await clock.pass(5_000);
  assert.deepEqual(told, { asked: 1, dead: 0 });
  heartbeat.heard();
  await clock.pass(20_000);
  assert.deepEqual(told, { asked: 1, dead: 0 });
});

test("after a sleep a peer that has gone is dead within seconds", async () => {
  const { clock, told } = makeHeartbeat();
  clock.sleep(3_600_000);
  await clock.pass(21_000);
  assert.deepEqual(told, { asked: 1, dead: 1 });
});

test("an answer that waits while the page stands still is not missed", async () => {
  const { clock, told } = makeHeartbeat();
  await clock.pass(25_000);
  clock.sleep(60_000); // a hidden tab of Chromium: timers once a minute
  await clock.pass(5_000);
  assert.deepEqual(told, { asked: 2, dead: 0 });
});

test("a doubt asks at once, and once", async () => {
  const { clock, told, heartbeat } = makeHeartbeat();
  heartbeat.doubt();
  heartbeat.doubt();
  assert.equal(told.asked, 1);
  await clock.pass(16_000);
  assert.equal(told.dead, 1);
});

test("a clock that is put back makes nobody deaf", async () => {
  const { clock, told, heartbeat } = makeHeartbeat();
  clock.sleep(-3_600_000);
  await clock.pass(60_000);
  assert.equal(told.dead, 1);
  heartbeat.stop();
});
