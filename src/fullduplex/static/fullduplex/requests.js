// What is asked of the server, and what becomes of it when the connection breaks.
//
// A publish is kept until it is answered, and goes out again with the same key on the next connection: the server keeps
// it once. A call has no key: whether one that was on its way has been done is unknown, so it fails. What is asked while
// there is no connection waits for one, and what is more than the server takes at a time waits for its turn.

import { backoffMs } from "./backoff.js";
import { ClientError, isPassing } from "./protocol.js";

/** @typedef {import("./clock.js").Clock} Clock */
/** @typedef {import("./protocol.js").Message} Message */

const AGAIN = { firstMs: 1_000, mostMs: 30_000 };
const ID_BYTES = 24; // `"id":` and the longest number
// Our server refuses more than 1 MiB for now, and what is refused for now loses its place in the order.
const MOST_BYTES_ON_WAY = 262_144;

/**
 * @typedef {object} Request
 * @property {string} text JSON, without the id
 * @property {number} bytes
 * @property {string | null} group that it goes to, in order
 * @property {boolean} again whether it goes out again after a loss
 * @property {boolean} sent on this connection
 * @property {number} failures that may pass
 * @property {unknown} deadline
 * @property {unknown} pause before it goes out again; null: none
 * @property {(reply: Message) => void} resolve
 * @property {(error: ClientError) => void} reject
 */

export class Requests {
  /** @type {Set<Request>} that outlive a connection, the oldest first */
  #kept = new Set();
  /** @type {{body: object, answered: (message: Message) => void}[]} of this connection, for whose turn we wait */
  #queue = [];
  /** @type {Map<number, (message: Message) => void>} that are on their way */
  #asked = new Map();
  /** @type {((text: string) => void) | null} */
  #send = null;
  #open = false; // what was kept may be sent
  #lastId = 0;
  #bytes = 0;
  #mostOnWay = 1;
  #mostMessageBytes = Infinity;
  #clock;
  #random;
  #bounds;

  /**
   * @param {Clock} clock
   * @param {() => number} random
   * @param {{mostCount: number, mostBytes: number}} bounds of what is kept
   */
  constructor(clock, random, bounds) {
    this.#clock = clock;
    this.#random = random;
    this.#bounds = bounds;
  }

  /** How many publishes and calls have no answer yet. */
  get count() {
    return this.#kept.size;
  }

  /** Whether there is one on its way that would be lost with the connection. */
  get busy() {
    return [...this.#kept].some(({ sent, again }) => sent && !again);
  }

  /**
   * Ask, on as many connections as it takes.
   * @param {{group?: string, [member: string]: any}} body
   * @param {{again: boolean, timeoutMs?: number}} options
   * @returns {Promise<Message>}
   */
  keep(body, { again, timeoutMs }) {
    return new Promise((resolve, reject) => {
      const text = JSON.stringify(body);
      const bytes = new TextEncoder().encode(text).length;
      if (this.#kept.size >= this.#bounds.mostCount || this.#bytes + bytes > this.#bounds.mostBytes) {
        reject(new ClientError("full", "Too much waits for its answer already."));
        return;
      }
      /** @type {Request} */
      const request = {
        ...{ text, bytes, group: body.group ?? null, again, resolve, reject },
        ...{ sent: false, failures: 0, deadline: null, pause: null },
      };
      if (timeoutMs !== undefined) {
        const late = () => this.#fail(request, new ClientError("timeout", `There was no answer in ${timeoutMs} ms.`));
        request.deadline = this.#clock.setTimer(late, timeoutMs);
      }
      this.#kept.add(request);
      this.#bytes += bytes;
      this.#pump();
    });
  }

  /**
   * Ask on this connection; if it breaks, nobody is told.
   * @param {object} body
   * @param {(message: Message) => void} answered with the answer, which may be an error
   */
  ask(body, answered) {
    this.#queue.push({ body, answered });
    this.#pump();
  }

  /**
   * There is a connection.
   * @param {(text: string) => void} send
   * @param {Message} welcome
   */
  up(send, welcome) {
    this.#send = send;
    this.#mostOnWay = welcome.max_requests;
    this.#mostMessageBytes = welcome.max_message_bytes;
  }

  /** What was kept goes out on it, in order. */
  flush() {
    this.#open = true;
    this.#pump();
  }

  /** The connection has gone. */
  down() {
    this.#send = null;
    this.#open = false;
    this.#lastId = 0;
    this.#queue = [];
    this.#asked.clear();
    for (const request of [...this.#kept]) {
      this.#clock.clearTimer(request.pause);
      request.pause = null;
      if (request.sent && !request.again) {
        this.#fail(request, new ClientError("lost", "The connection broke: whether it was done is unknown."));
      }
      request.sent = false;
    }
  }

  /**
   * @param {Message} message with an id
   */
  answer(message) {
    const answered = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    answered?.(message);
    this.#pump();
  }

  /**
   * Nothing more will be answered.
   * @param {ClientError} error
   */
  end(error) {
    this.down();
    for (const request of [...this.#kept]) this.#fail(request, error);
  }

  #pump() {
    while (this.#send && this.#queue.length && this.#asked.size < this.#mostOnWay) {
      const { body, answered } = /** @type {{body: object, answered: () => void}} */ (this.#queue.shift());
      this.#transmit(JSON.stringify(body), answered);
    }
    if (this.#open) this.#pumpKept();
  }

  /** Send the kept ones whose turn it is: none before one of its group that waits to go out again. */
  #pumpKept() {
    const held = new Set();
    let bytesOnWay = 0;
    for (const request of [...this.#kept]) {
      if (request.sent) bytesOnWay += request.bytes;
      else if (request.pause !== null) held.add(request.group);
      else if (request.bytes + ID_BYTES > this.#mostMessageBytes) {
        this.#fail(request, new ClientError("too_large", `The server takes ${this.#mostMessageBytes} bytes.`));
      } else if (request.group === null || !held.has(request.group)) {
        if (this.#asked.size >= this.#mostOnWay) return;
        if (bytesOnWay && bytesOnWay + request.bytes > MOST_BYTES_ON_WAY) return;
        bytesOnWay += request.bytes;
        request.sent = true;
        this.#transmit(request.text, (message) => this.#answered(request, message));
      }
    }
  }

  /**
   * @param {string} text of a JSON object that has members
   * @param {(message: Message) => void} answered
   */
  #transmit(text, answered) {
    const id = ++this.#lastId;
    this.#asked.set(id, answered);
    this.#send?.(`{"id":${id},${text.slice(1)}`);
  }

  /**
   * @param {Request} request
   * @param {Message} message
   */
  #answered(request, message) {
    if (!this.#kept.has(request)) return; // too late
    if (message.type === "error" && request.again && isPassing(message.code)) {
      const again = () => {
        request.pause = null;
        this.#pump();
      };
      request.sent = false;
      request.pause = this.#clock.setTimer(again, backoffMs(request.failures++, this.#random, AGAIN));
    } else if (message.type === "error") {
      this.#fail(request, new ClientError(message.code, message.message));
    } else {
      this.#forget(request);
      request.resolve(message);
    }
  }

  /**
   * @param {Request} request
   * @param {ClientError} error
   */
  #fail(request, error) {
    this.#forget(request);
    request.reject(error);
  }

  /** @param {Request} request */
  #forget(request) {
    if (!this.#kept.delete(request)) return;
    this.#bytes -= request.bytes;
    this.#clock.clearTimer(request.deadline);
    this.#clock.clearTimer(request.pause);
  }
}
