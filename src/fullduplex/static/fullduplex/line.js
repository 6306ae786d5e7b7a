// One connection, from dialling to its end, over whatever transport: the welcome and its deadline, the heartbeat.

import { ABNORMAL, NO_MESSAGE, SILENT, check } from "./protocol.js";
import { Heartbeat } from "./heartbeat.js";

/** @typedef {import("./clock.js").Clock} Clock */
/** @typedef {import("./protocol.js").Message} Message */

const WELCOME_MS = 10_000;

/**
 * What a transport tells; nothing after `ended`.
 * @typedef {object} TransportHandlers
 * @property {(value: unknown) => void} came JSON; undefined: something else
 * @property {() => void} heard there is life, though no message
 * @property {(end: {code: number, reason: string}) => void} ended
 */

/**
 * @typedef {object} Transport
 * @property {(text: string) => void} send
 * @property {(code: number, reason: string) => void} close
 * @property {boolean} answers whether the server answers pings on it; else it speaks by itself
 */

/** @typedef {(handlers: TransportHandlers) => Transport} Dial */

/**
 * @typedef {object} End
 * @property {number} code
 * @property {string} reason
 * @property {boolean} welcomed
 * @property {boolean} late it ended because the welcome did not come in time
 */

/**
 * @typedef {object} LineHandlers
 * @property {(welcome: Message) => void} welcome
 * @property {(message: Message) => void} message
 * @property {(end: End) => void} ended once; nothing is told after it
 */

export class Line {
  welcomed = false;
  #ended = false;
  /** @type {Heartbeat | null} */
  #heartbeat = null;
  /** @type {Transport | null} */
  #transport = null;
  #clock;
  #handlers;
  #deadline;

  /**
   * @param {Dial} dial
   * @param {Clock} clock
   * @param {LineHandlers} handlers
   */
  constructor(dial, clock, handlers) {
    this.#clock = clock;
    this.#handlers = handlers;
    this.#deadline = clock.setTimer(() => this.#end(ABNORMAL, "There was no welcome in time.", true), WELCOME_MS);
    this.#transport = dial({
      came: (value) => this.#came(value),
      heard: () => this.#heartbeat?.heard(),
      ended: ({ code, reason }) => this.#end(code, reason),
    });
  }

  /** @param {string} text */
  send(text) {
    if (!this.#ended) this.#transport?.send(text);
  }

  /** There is reason to doubt that somebody is there. */
  doubt() {
    this.#heartbeat?.doubt();
  }

  /**
   * Leave, and say nothing of it to our handlers.
   * @param {number} code
   * @param {string} reason
   */
  close(code, reason) {
    if (this.#ended) return;
    this.#stop();
    this.#transport?.close(code, reason);
  }

  /** @param {unknown} value */
  #came(value) {
    if (this.#ended) return;
    this.#heartbeat?.heard();
    const message = check(value);
    if (message === "ignored") return;
    if (message === "invalid" || this.welcomed === (message.type === "welcome")) {
      this.#end(NO_MESSAGE, "What came is no message of this protocol, or not in its place.");
    } else if (message.type === "welcome") {
      this.#welcome(message);
    } else if (message.type === "ping") {
      this.send('{"type":"pong"}');
    } else if (message.type !== "pong") {
      this.#handlers.message(message);
    }
  }

  /** @param {Message} message */
  #welcome(message) {
    this.welcomed = true;
    this.#clock.clearTimer(this.#deadline);
    const ask = this.#transport?.answers ? () => this.send('{"type":"ping"}') : null;
    const dead = () => this.#end(SILENT, "The server was silent.");
    this.#heartbeat = new Heartbeat(this.#clock, message.heartbeat_s * 1000, ask, dead);
    this.#handlers.welcome(message);
  }

  /**
   * The end is told at once: a close to a peer that is dead would tell its own after a minute.
   * @param {number} code
   * @param {string} reason
   * @param {boolean} late
   */
  #end(code, reason, late = false) {
    if (this.#ended) return;
    this.#stop();
    this.#transport?.close(code, reason);
    this.#handlers.ended({ code, reason, welcomed: this.welcomed, late });
  }

  #stop() {
    this.#ended = true;
    this.#clock.clearTimer(this.#deadline);
    this.#heartbeat?.stop();
  }
}
