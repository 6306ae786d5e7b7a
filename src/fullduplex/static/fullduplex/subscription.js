// One group that is listened to: where we are in it, what has been had, who is told.

import { dataOf } from "./protocol.js";

/** @typedef {import("./protocol.js").Position} Position */
/** @typedef {import("./protocol.js").Message} Message */

/**
 * @typedef {object} Listener
 * @property {(data: any, info: {group: string, offset: number | null}) => void} [onMessage] each message once, in order
 * @property {(info: {recovered: boolean, position: Position | null}) => void} [onSubscribed] after each connection; not
 *     recovered: messages may be missing, and `onGap` follows
 * @property {(info: {position: Position | null}) => void} [onGap] messages may be missing before the next one: whoever
 *     shows a state loads it anew
 * @property {(info: {code: string, reason: string}) => void} [onUnsubscribed] the server has ended it, or refused it
 */

/**
 * What happens to a subscription, without the wire.
 *
 *     waiting ──ask()──▶ asking ──subscribed()──▶ subscribed
 *        ▲                  │                         │
 *        └──────────────lost()────────────────────────┘
 */
export class Subscription {
  /** @type {"waiting" | "asking" | "subscribed"} */
  state = "waiting";
  /** @type {Position | null} of the last message that was had; null: the group keeps no history, or nothing is known yet */
  position;
  /** @type {Set<Listener>} */
  listeners = new Set();
  #cameBefore;
  #failures = 0;

  /**
   * @param {string} group
   * @param {Position | null} after
   */
  constructor(group, after) {
    this.group = group;
    this.position = after;
    this.#cameBefore = after !== null;
  }

  /** How often it has failed in a row: for a back-off. */
  get failures() {
    return this.#failures;
  }

  /** @returns {object} the request that subscribes, without its id */
  ask() {
    this.state = "asking";
    const request = { type: "subscribe", group: this.group };
    return this.position === null ? request : { ...request, after: this.position };
  }

  /** @param {Message} message */
  subscribed({ recovered, position }) {
    const whole = recovered && (!this.#cameBefore || this.position !== null);
    this.state = "subscribed";
    this.position = position;
    this.#cameBefore = true;
    this.#failures = 0;
    this.#tell("onSubscribed", { recovered: whole, position });
    if (!whole) this.#tell("onGap", { position });
  }

  /** @param {Message} message */
  message(message) {
    if (this.state !== "subscribed") return;
    const { offset = null } = message;
    if (offset !== null && this.position !== null) {
      if (offset <= this.position.offset) return; // we have it
      this.position = { offset, epoch: this.position.epoch };
    }
    this.#tell("onMessage", dataOf(message), { group: this.group, offset });
  }

  /** @param {Message} message */
  gap({ position }) {
    if (this.state !== "subscribed") return;
    this.position = position;
    this.#tell("onGap", { position });
  }

  /** The connection has gone. */
  lost() {
    this.state = "waiting";
  }

  /** The server could not just now. */
  failed() {
    this.state = "waiting";
    this.#failures++;
  }

  /**
   * The server does not want it.
   * @param {string} code
   * @param {string} reason
   */
  ended(code, reason) {
    this.state = "waiting";
    this.#tell("onUnsubscribed", { code, reason });
  }

  /**
   * One more listens. If the group is subscribed to already, he hears so.
   * @param {Listener} listener
   */
  add(listener) {
    this.listeners.add(listener);
    if (this.state !== "subscribed") return;
    queueMicrotask(() => call(listener.onSubscribed, { recovered: true, position: this.position }));
  }

  /**
   * @param {"onMessage" | "onSubscribed" | "onGap" | "onUnsubscribed"} name
   * @param {any[]} values
   */
  #tell(name, ...values) {
    for (const listener of [...this.listeners]) call(listener[name], ...values);
  }
}

/**
 * Call what the page gave; its errors are the page's, and end nothing of ours.
 * @param {((...values: any[]) => void) | undefined} callback
 * @param {any[]} values
 */
export function call(callback, ...values) {
  try {
    callback?.(...values);
  } catch (error) {
    if (typeof reportError === "function") reportError(error);
    else console.error(error);
  }
}
