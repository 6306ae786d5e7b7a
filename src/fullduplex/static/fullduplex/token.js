// A token that says who is there: given to each connection that asks for one, and anew before it ends.

import { isPassing } from "./protocol.js";

/** @typedef {import("./clock.js").Clock} Clock */
/** @typedef {() => Promise<string | null> | string | null} GetToken */

const EARLY = 0.8; // of its life
const SOON_MS = 5_000; // after a new one could not be had
const MOST_MS = 2 ** 31 - 1; // that a timer holds: a longer one would be due at once

/**
 * @typedef {object} TokenHandlers
 * @property {() => void} taken the connection may be used
 * @property {(reason: string) => void} failed there is none just now
 * @property {(reason: string) => void} refused there is none that the server takes
 */

export class Token {
  /** @type {unknown} */
  #timer = null;
  #connection = 0; // counts them: what belongs to an earlier one is dropped
  #get;
  #clock;
  #requests;
  #handlers;

  /**
   * @param {GetToken | null} get
   * @param {Clock} clock
   * @param {import("./requests.js").Requests} requests
   * @param {TokenHandlers} handlers
   */
  constructor(get, clock, requests, handlers) {
    this.#get = get;
    this.#clock = clock;
    this.#requests = requests;
    this.#handlers = handlers;
  }

  /**
   * There is a connection.
   * @param {boolean} needed
   */
  up(needed) {
    this.#connection++;
    if (!needed) this.#handlers.taken();
    else if (this.#get) this.#give(this.#connection, { first: true });
    else this.#handlers.refused("The endpoint asks for a token, and `token` is not set.");
  }

  /** It has gone. */
  down() {
    this.#connection++;
    this.#clock.clearTimer(this.#timer);
  }

  /**
   * @param {number} connection
   * @param {{first: boolean, refused?: string}} as first: nothing may be asked before it; refused: the one before
   */
  async #give(connection, { first, refused }) {
    let token;
    let failure = "";
    try {
      token = await this.#get?.();
    } catch (error) {
      failure = `There is no token: ${error}`;
    }
    if (connection !== this.#connection) return;
    if (failure) {
      if (first) this.#handlers.failed(failure);
      else this.#later(connection, SOON_MS);
    } else if (!token || token === refused) {
      this.#handlers.refused(refused ? "The token was refused." : "There is no token.");
    } else {
      this.#requests.ask({ type: "token", token }, (reply) => {
        if (reply.type === "reply") {
          if (reply.expires_in_s) this.#later(connection, reply.expires_in_s * 1000 * EARLY);
          if (first) this.#handlers.taken();
        } else if (isPassing(reply.code)) {
          this.#handlers.failed(reply.message);
        } else if (refused === undefined) {
          this.#give(connection, { first, refused: token }); // perhaps it was an old one
        } else {
          this.#handlers.refused(reply.message);
        }
      });
    }
  }

  /**
   * @param {number} connection
   * @param {number} ms
   */
  #later(connection, ms) {
    this.#timer = this.#clock.setTimer(() => this.#give(connection, { first: false }), Math.min(ms, MOST_MS));
  }
}
