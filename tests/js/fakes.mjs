// A clock that a test turns by hand, connections that it plays the server of, and what it needs of a page.

import { Client } from "../../src/fullduplex/static/fullduplex/client.js";

export class FakeClock {
  #now = 1_000_000; // as timers have it
  #shift = 0; // of the calendar
  #timers = new Map();
  #lastId = 0;

  now = () => this.#now + this.#shift;

  setTimer = (callback, ms) => {
    this.#timers.set(++this.#lastId, { callback, due: this.#now + ms });
    return this.#lastId;
  };

  clearTimer = (id) => {
    this.#timers.delete(id);
  };

  get timerCount() {
    return this.#timers.size;
  }

  /** Let time pass; timers are called when they are due, and promises in between. */
  async pass(ms) {
    const end = this.#now + ms;
    for (;;) {
      const [id, timer] = [...this.#timers].filter(([, { due }]) => due <= end).sort(([, a], [, b]) => a.due - b.due)[0] ?? [];
      if (!timer) break;
      this.#timers.delete(id);
      this.#now = Math.max(this.#now, timer.due);
      timer.callback();
      await settle();
    }
    this.#now = end;
    await settle();
  }

  /** A laptop sleeps: the calendar goes on, and timers stand still. Or, with less than 0: somebody sets the clock. */
  sleep(ms) {
    this.#shift += ms;
  }
}

/** Let all promises that can settle do so. */
export async function settle() {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

export const WELCOME = {
  type: "welcome",
  protocol: "fullduplex.v1",
  heartbeat_s: 25,
  max_message_bytes: 65_536,
  max_groups: 100,
  max_requests: 100,
  token: false,
};

/** One connection, of which the test is the other side. */
export class FakeConnection {
  sent = [];
  closed = null;

  constructor(handlers, answers) {
    this.handlers = handlers;
    this.answers = answers;
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code, reason) {
    this.closed ??= { code, reason };
  }

  say(message) {
    this.handlers.came(message);
  }

  welcome(more = {}) {
    this.say({ ...WELCOME, ...more });
  }

  end(code = 1006, reason = "") {
    this.handlers.ended({ code, reason });
  }

  /** What was sent since the last look. */
  take() {
    return this.sent.splice(0);
  }
}

/** A network: every connection that is dialled is kept. */
export class FakeNetwork {
  sockets = [];
  streams = [];

  websocket = (handlers) => this.#dial(this.sockets, handlers, true);
  events = (wants) => (handlers) => {
    this.wants = wants;
    return this.#dial(this.streams, handlers, false);
  };

  #dial(list, handlers, answers) {
    const connection = new FakeConnection(handlers, answers);
    list.push(connection);
    return connection;
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** Let time pass until another socket is dialled. */
  async nextSocket(clock) {
    const { length } = this.sockets;
    while (this.sockets.length === length) await clock.pass(100);
    return this.socket;
  }

  get stream() {
    return this.streams.at(-1);
  }
}

/** A client with all its surroundings. */
export function makeClient(options = {}, { events = true, random = () => 0.5 } = {}) {
  const clock = new FakeClock();
  const network = new FakeNetwork();
  const page = {};
  const statuses = [];
  const client = new Client(
    { onStatus: ({ state }) => statuses.at(-1) !== state && statuses.push(state), ...options },
    {
      clock,
      random,
      websocket: network.websocket,
      events: events ? network.events : null,
      watchPage: (handlers) => {
        Object.assign(page, handlers);
        return () => (page.left = true);
      },
    },
  );
  return { client, clock, network, page, statuses };
}

/** A listener that notes what it hears. */
export function makeListener() {
  const heard = [];
  return {
    heard,
    onMessage: (data, { offset }) => heard.push({ message: data, offset }),
    onSubscribed: ({ recovered }) => heard.push({ subscribed: recovered }),
    onGap: ({ position }) => heard.push({ gap: position }),
    onUnsubscribed: ({ code }) => heard.push({ unsubscribed: code }),
  };
}
