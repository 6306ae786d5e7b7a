import assert from "node:assert/strict";
import { test } from "node:test";

import { backoffMs } from "../../src/fullduplex/static/fullduplex/backoff.js";
import { EventStream } from "../../src/fullduplex/static/fullduplex/event-stream.js";
import { check, dataOf, eventId, isFinal, isFinalStatus, parse } from "../../src/fullduplex/static/fullduplex/protocol.js";
import { Subscription } from "../../src/fullduplex/static/fullduplex/subscription.js";
import { makeListener } from "./fakes.mjs";
import { vectors } from "./vectors.mjs";

for (const { name, text, then } of vectors("server_messages")) {
  test(`a message of the server: ${name}`, () => {
    const message = check(parse(text));
    if (then === "ignored") assert.equal(message, "ignored");
    else if (then.close === 4500) assert.equal(message, "invalid");
    else assert.deepEqual({ ...message, ...then.message }, message);
  });
}

for (const { name, message, base64 } of vectors("envelopes")) {
  test(`what was sent to a group: ${name}`, () => {
    const data = dataOf(check(message));
    if (base64 === undefined) assert.deepEqual(data, message.data);
    else assert.deepEqual(Buffer.from(data), Buffer.from(base64, "base64"));
  });
}

for (const { name, code, reconnects } of vectors("close_codes")) {
  test(`a close code: ${name}`, () => assert.equal(isFinal(code), !reconnects));
}

for (const { name, status, reconnects } of vectors("statuses")) {
  test(`a status: ${name}`, () => assert.equal(isFinalStatus(status), !reconnects));
}

for (const { name, attempt, random, wait_s } of vectors("backoff")) {
  test(`back-off: ${name}`, () => {
    assert.equal(backoffMs(attempt, () => random, { firstMs: 1_000, mostMs: 30_000 }), wait_s * 1000);
  });
}

for (const { name, id, positions, valid = true } of vectors("event_ids")) {
  if (valid) test(`the id of an event: ${name}`, () => assert.equal(eventId(positions), id));
}

for (const { name, text, messages } of vectors("event_streams")) {
  test(`a stream of events: ${name}`, () => {
    const bytes = new TextEncoder().encode(text);
    const read = (pieces) => {
      const stream = new EventStream();
      return pieces.flatMap((piece) => stream.push(piece)).map(parse);
    };
    assert.deepEqual(read([bytes]), messages);
    assert.deepEqual(read(Array.from(bytes, (byte) => Uint8Array.of(byte))), messages);
    for (let cut = 0; cut <= bytes.length; cut++) {
      assert.deepEqual(read([bytes.subarray(0, cut), bytes.subarray(cut)]), messages);
    }
  });
}

for (const { name, steps } of vectors("groups")) {
  test(`a group: ${name}`, () => {
    const { heard, ...listener } = makeListener();
    const subscription = new Subscription("chat.1", null);
    subscription.add(listener);
    for (const { server, sees, position } of steps) {
      subscription[server.type](server);
      const kinds = heard.splice(0);
      if (kinds[0]?.subscribed === false) assert.deepEqual(kinds.pop(), { gap: position });
      if (sees === null) assert.deepEqual(kinds, []);
      else if (sees.gap) assert.deepEqual(kinds, [{ gap: position }]);
      else if (sees.message) assert.deepEqual(kinds, [{ message: sees.message, offset: server.offset ?? null }]);
      else assert.deepEqual(kinds, [sees]);
      assert.deepEqual(subscription.position, position);
    }
  });
}
