// The conversations of the golden vectors, with the client on one side and the test on the other.

import assert from "node:assert/strict";
import { test } from "node:test";

import { makeClient, settle } from "./fakes.mjs";
import { vectors } from "./vectors.mjs";

/** What the application does and sees. */
class Application {
  seen = [];
  rooms = {};
  #state = "";
  #notRecovered = false;

  connect({ tokens }) {
    const onStatus = ({ state, code }) => {
      if (state !== this.#state && state === "reconnecting") this.seen.push({ sees: "reconnecting" });
      if (state === "closed") this.seen.push({ sees: "closed", code });
      this.#state = state;
    };
    const options = tokens ? { onStatus, token: async () => tokens.shift() } : { onStatus };
    Object.assign(this, makeClient(options, { events: false }));
  }

  subscribe({ group }) {
    this.rooms[group] = this.client.subscribe(group, {
      onMessage: (data, { offset }) => this.seen.push({ sees: "message", group, data, offset }),
      onSubscribed: ({ recovered }) => {
        this.#notRecovered = !recovered;
        this.seen.push({ sees: "subscribed", group, recovered });
      },
      onGap: () => {
        if (!this.#notRecovered) this.seen.push({ sees: "gap", group }); // it follows "not recovered", too
        this.#notRecovered = false;
      },
      onUnsubscribed: ({ code }) => this.seen.push({ sees: "unsubscribed", group, code }),
    });
  }

  unsubscribe({ group }) {
    this.rooms[group].unsubscribe();
  }

  publish({ group, data, key }) {
    this.#note("publish", this.client.publish(group, data, { key }).then(({ position }) => ({ position })));
  }

  call({ method, params }) {
    this.#note("call", this.client.call(method, params).then((result) => ({ result })));
  }

  close() {
    this.client.close();
  }

  #note(to, promise) {
    promise.then(
      (value) => this.seen.push({ sees: "reply", to, ...value }),
      ({ code }) => this.seen.push({ sees: "error", to, code }),
    );
  }

  /** Promises settle later than callbacks are called, so the order is open between the two. */
  sees(what) {
    const index = this.seen.findIndex(({ sees, to }) => sees === what.sees && to === what.to);
    assert.notEqual(index, -1, `seen: ${JSON.stringify(this.seen)}`);
    assert.deepEqual(this.seen.splice(index, 1)[0], what);
  }
}

/** One method for each who of a step. */
class Play {
  application = new Application();
  #connections = 0;

  get #socket() {
    return this.application.network.socket;
  }

  app(what) {
    if (what.do) this.application[what.do](what);
    else this.application.sees(what);
  }

  async client(what) {
    if (what === "connect") {
      this.#connections++;
      while (this.application.network.sockets.length < this.#connections) await this.application.clock.pass(100);
    } else if (what.close) {
      assert.equal(this.#socket.closed.code, what.close);
    } else {
      assert.deepEqual(this.#socket.sent.shift(), what);
    }
  }

  server(what) {
    if (what.close) this.#socket.end(what.close);
    else if (what !== "forgets") this.#socket.say(what);
  }

  network() {
    this.#socket.end(1006);
  }

  others() {}

  async time(seconds) {
    await this.application.clock.pass(seconds * 1000);
    this.#socket.sent = this.#socket.sent.filter(({ type }) => type !== "ping"); // it may ask at any time
  }

  end() {
    assert.deepEqual(this.#socket.sent, []);
    // Whether an application that closes hears of it is not what the conversations are about.
    assert.deepEqual(this.application.seen.filter(({ code }) => code !== 1000), []);
  }
}

for (const { name, sides, steps } of vectors("conversations")) {
  if (!sides.includes("client")) continue;
  test(`a conversation: ${name}`, async () => {
    const play = new Play();
    for (const [index, step] of steps.entries()) {
      const [[who, what]] = Object.entries(step);
      try {
        await play[who](what);
        await settle();
      } catch (error) {
        error.message = `step ${index}, ${JSON.stringify(step)}: ${error.message}`;
        throw error;
      }
    }
    play.end();
  });
}
