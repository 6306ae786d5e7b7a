// The client of fullduplex: groups over one connection that comes back by itself and misses nothing.
//
//     const client = connect("/realtime/");
//     const room = client.subscribe("chat.1", { onMessage(data) { ... }, onGap() { ... } });
//     await room.publish({ text: "hello" });
//
// docs/reference/javascript.md has all of it, docs/topics/reconnecting.md the reasons.

import { backoffMs } from "./backoff.js";
import { clock } from "./clock.js";
import { Connector } from "./connector.js";
import { csrfToken, events } from "./events.js";
import { watchPage } from "./page.js";
import { ABNORMAL, ClientError, NORMAL, UNAUTHORIZED, isPassing } from "./protocol.js";
import { Requests } from "./requests.js";
import { Subscription, call } from "./subscription.js";
import { Token } from "./token.js";
import { websocket } from "./websocket.js";

export { ClientError };

/** @typedef {import("./protocol.js").Position} Position */
/** @typedef {import("./protocol.js").Message} Message */
/** @typedef {import("./subscription.js").Listener} Listener */
/** @typedef {import("./line.js").Line} Line */

/**
 * @typedef {object} Status
 * @property {"connecting" | "connected" | "reconnecting" | "closed"} state
 * @property {"websocket" | "events" | null} transport that carries us
 * @property {number} attempt how many attempts have failed in a row
 * @property {number | null} retryAt when the next one is due, in milliseconds as of `Date.now()`
 * @property {number | null} code of the close, when it is closed
 * @property {string} reason
 */

/**
 * @typedef {object} Options
 * @property {string | URL | null} [events] the stream of events that stands in where sockets are blocked; by default
 *     `events/` below the address; null: none
 * @property {() => Promise<string | null> | string | null} [token] asked for each connection, and before the last one
 *     expires
 * @property {(status: Status) => void} [onStatus] called now, and with each change
 * @property {() => string} [csrfToken] for what is sent over HTTP; by default Django's cookie, or the form's field
 * @property {number} [retryFirstMs] bound of the wait after the first failure: 1,000
 * @property {number} [retryMostMs] and after many: 30,000
 * @property {number} [pendingMostCount] requests that wait for their answer: 1,000
 * @property {number} [pendingMostBytes] and their JSON together: 1 MiB
 */

/**
 * What a test passes in its own way.
 * @typedef {object} Surroundings
 * @property {import("./clock.js").Clock} clock
 * @property {() => number} random
 * @property {import("./line.js").Dial} websocket
 * @property {((wants: import("./events.js").Wants) => import("./line.js").Dial) | null} events
 * @property {typeof watchPage} watchPage
 */

/**
 * Connect to an endpoint.
 * @param {string | URL} url of the endpoint, relative to the page or absolute
 * @param {Options} [options]
 * @returns {Client}
 */
export function connect(url, options = {}) {
  const address = new URL(url, typeof location === "undefined" ? undefined : location.href);
  address.protocol = address.protocol.replace(/^ws/, "http");
  const socket = new URL(address);
  socket.protocol = socket.protocol.replace(/^http/, "ws");
  const guessed = options.events === undefined;
  const stream = options.events === null ? null : new URL(options.events ?? "events/", address);
  // The token of this site is nobody else's business.
  const mine = typeof location !== "undefined" && stream?.origin === location.origin;
  const how = { csrfToken: options.csrfToken ?? (mine ? csrfToken : () => ""), guessed };
  return new Client(options, {
    clock,
    random: Math.random,
    websocket: websocket(socket),
    events: stream && events(stream, how),
    watchPage,
  });
}

export class Client {
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  #wasConnected = false;
  /** @type {{code: number, reason: string} | null} */
  #end = null;
  #ready = false; // welcomed, and its token taken
  #lastStatus = "";
  #clock;
  #random;
  #bounds;
  #options;
  #requests;
  #connector;
  #token;
  #leavePage;

  /**
   * @param {Options} options
   * @param {Surroundings} surroundings
   */
  constructor(options, { clock, random, websocket, events, watchPage }) {
    const { retryFirstMs = 1_000, retryMostMs = 30_000 } = options;
    const { pendingMostCount = 1_000, pendingMostBytes = 1_048_576 } = options;
    this.#clock = clock;
    this.#options = options;
    this.#requests = new Requests(clock, random, { mostCount: pendingMostCount, mostBytes: pendingMostBytes });
    const bounds = (this.#bounds = { firstMs: retryFirstMs, mostMs: retryMostMs });
    this.#random = random;
    const wants = {
      token: options.token ?? (() => null),
      groups: () => [...this.#subscriptions.values()].map(({ group, position }) => ({ group, position })),
    };
    const dials = { websocket, events: events?.(wants) ?? null };
    const connector = (this.#connector = new Connector(dials, clock, random, bounds, {
      up: (line, welcome) => this.#up(line, welcome),
      message: (message) => this.#message(message),
      down: () => this.#down(),
      changed: () => this.#changed(),
      stopped: (end) => this.#stopped(end),
      busy: () => this.#requests.busy,
    }));
    this.#token = new Token(options.token ?? null, clock, this.#requests, {
      taken: () => this.#begin(),
      failed: (reason) => connector.fail(ABNORMAL, reason),
      refused: (reason) => connector.stop({ code: UNAUTHORIZED, reason }),
    });
    this.#leavePage = watchPage({
      hide: () => connector.suspend(),
      show: () => connector.resume(),
      nudge: () => connector.nudge(),
      doubt: () => connector.doubt(),
    });
    connector.resume();
  }

  /** @returns {Status} */
  get status() {
    const { attempt, retryAt, kind } = this.#connector;
    const away = this.#wasConnected ? "reconnecting" : "connecting";
    return {
      state: this.#end ? "closed" : this.#ready ? "connected" : away,
      transport: this.#ready ? kind : null,
      attempt,
      retryAt,
      code: this.#end?.code ?? null,
      reason: this.#end?.reason ?? "",
    };
  }

  /** How many publishes and calls wait for their answer. */
  get pendingCount() {
    return this.#requests.count;
  }

  /**
   * Listen to a group, over as many connections as it takes. Several listeners of a group share one subscription.
   * @param {string} group
   * @param {Listener & {after?: Position | null}} listener `after`: go on behind this position, such as one that the
   *     page was rendered with; without it, from now on
   * @returns {Room}
   */
  subscribe(group, { after = null, ...listener }) {
    if (this.#end) throw new ClientError("closed", "The client is closed.");
    let subscription = this.#subscriptions.get(group);
    if (subscription && after) throw new Error(`${group} is listened to already, so "after" comes too late.`);
    if (!subscription) {
      subscription = new Subscription(group, after);
      this.#subscriptions.set(group, subscription);
      if (this.#ready) this.#ask(subscription);
    }
    const shared = subscription;
    shared.add(listener);
    return new Room(this, shared, () => this.#leave(shared, listener));
  }

  /**
   * Publish, and wait until the server has it. It is sent again after a loss, and kept once.
   * @param {string} group
   * @param {object} data JSON
   * @param {{key?: string, timeoutMs?: number}} [options] `key`: by default one of its own; `timeoutMs`: give up after so
   *     long, and by default never
   * @returns {Promise<{position: Position | null, key: string}>}
   */
  async publish(group, data, { key = makeKey(), timeoutMs } = {}) {
    if (this.#end) throw new ClientError("closed", "The client is closed.");
    const reply = await this.#requests.keep({ type: "publish", group, data, key }, { again: true, timeoutMs });
    return { position: reply.position ?? null, key };
  }

  /**
   * Call a method of the endpoint. A call that was on its way when the connection broke fails: whether it was done is
   * not known.
   * @param {string} method
   * @param {any} [params] JSON
   * @param {{timeoutMs?: number}} [options] 30,000 by default
   * @returns {Promise<any>} what it answers
   */
  async call(method, params = null, { timeoutMs = 30_000 } = {}) {
    if (this.#end) throw new ClientError("closed", "The client is closed.");
    return (await this.#requests.keep({ type: "call", method, params }, { again: false, timeoutMs })).result;
  }

  /** End for good; what waits for an answer fails with the code `closed`. */
  close() {
    this.#connector.stop({ code: NORMAL, reason: "" });
  }

  /**
   * @param {Line} line
   * @param {Message} welcome
   */
  #up(line, welcome) {
    this.#requests.up((text) => line.send(text), welcome);
    this.#token.up(welcome.token);
  }

  #begin() {
    this.#ready = this.#wasConnected = true;
    for (const subscription of this.#subscriptions.values()) this.#ask(subscription);
    this.#requests.flush();
    this.#changed();
  }

  #down() {
    this.#ready = false;
    this.#token.down();
    this.#requests.down();
    for (const subscription of this.#subscriptions.values()) subscription.lost();
  }

  /** @param {{code: number, reason: string}} end */
  #stopped(end) {
    this.#end = end;
    this.#down();
    this.#leavePage();
    this.#requests.end(new ClientError("closed", end.reason || "The client is closed."));
    this.#subscriptions.clear();
    this.#changed();
  }

  /** @param {Message} message */
  #message(message) {
    if (typeof message.id === "number") {
      this.#requests.answer(message);
      return;
    }
    const subscription = this.#subscriptions.get(message.group);
    if (message.type === "message") subscription?.message(message);
    else if (message.type === "gap") subscription?.gap(message);
    else if (message.type === "unsubscribed" && subscription) this.#refused(subscription, message.code, message.reason);
  }

  /** @param {Subscription} subscription */
  #ask(subscription) {
    this.#requests.ask(subscription.ask(), (answer) => {
      if (this.#subscriptions.get(subscription.group) !== subscription) return;
      if (answer.type === "error") this.#refused(subscription, answer.code, answer.message);
      else subscription.subscribed(answer);
    });
  }

  /**
   * @param {Subscription} subscription
   * @param {string} code
   * @param {string} reason
   */
  #refused(subscription, code, reason) {
    const isMine = () => this.#subscriptions.get(subscription.group) === subscription;
    if (isPassing(code)) {
      subscription.failed();
      const again = () => {
        if (isMine() && this.#ready && subscription.state === "waiting") this.#ask(subscription);
      };
      this.#clock.setTimer(again, backoffMs(subscription.failures, this.#random, this.#bounds));
    } else {
      this.#subscriptions.delete(subscription.group);
      subscription.ended(code, reason);
    }
  }

  /**
   * @param {Subscription} subscription
   * @param {Listener} listener
   */
  #leave(subscription, listener) {
    subscription.listeners.delete(listener);
    if (subscription.listeners.size || this.#subscriptions.get(subscription.group) !== subscription) return;
    this.#subscriptions.delete(subscription.group);
    if (subscription.state !== "waiting") {
      this.#requests.ask({ type: "unsubscribe", group: subscription.group }, () => {});
    }
  }

  #changed() {
    const { status } = this;
    const text = JSON.stringify(status);
    if (text === this.#lastStatus || !this.#options.onStatus) return;
    this.#lastStatus = text;
    call(this.#options.onStatus, status);
  }
}

/** A group that somebody listens to. */
export class Room {
  #client;
  #subscription;
  #leave;

  /**
   * @param {Client} client
   * @param {Subscription} subscription
   * @param {() => void} leave
   */
  constructor(client, subscription, leave) {
    this.#client = client;
    this.#subscription = subscription;
    this.#leave = leave;
  }

  get group() {
    return this.#subscription.group;
  }

  /** The place of the last message that was had: to go on from there on another page, as `after`. */
  get position() {
    return this.#subscription.position;
  }

  /**
   * Publish to this group, as `client.publish`.
   * @param {any} data
   * @param {{key?: string, timeoutMs?: number}} [options]
   */
  publish(data, options) {
    return this.#client.publish(this.group, data, options);
  }

  unsubscribe() {
    this.#leave();
  }
}

/**
 * Make an idempotency key. Unlike `crypto.randomUUID` this is there over plain HTTP, too, as on a phone in the same network.
 * @returns {string}
 */
export function makeKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
