// Has a connection whenever one can be had: which transport, when to try again, when to stop.
//
//     waiting ──timer, nudge──▶ opening ──welcome──▶ up          any of them ──suspend──▶ suspended ──resume──▶ opening
//        ▲                         │                 │           any of them ──stop, final code──▶ stopped
//        └─────────────────────────┴──lost───────────┘
//
// The socket comes first. Some networks let none through, so every third attempt, and the one after a handshake that
// nobody answered, goes over events (HTTP); they also tell the status of a refusal, which a browser does not say of a
// socket. While events carry us a socket is tried now and then beside them: the way back.

import { NORMAL, isFinal } from "./protocol.js";
import { backoffMs } from "./backoff.js";
import { Line } from "./line.js";

/** @typedef {import("./clock.js").Clock} Clock */
/** @typedef {import("./line.js").Dial} Dial */
/** @typedef {import("./line.js").End} End */
/** @typedef {import("./protocol.js").Message} Message */
/** @typedef {"websocket" | "events"} Kind */

const EVENTS_EACH = 3;
const STABLE_MS = 10_000; // a connection that lived for so long begins the back-off anew
const NUDGE_MS = 1_000; // attempts for an outer reason are so far apart at least
const PROBE = { firstMs: 20_000, mostMs: 600_000 };
const PROBE_NUDGE_MS = 10_000; // somebody who changes tabs all the time does not try a blocked network each time

/**
 * @typedef {object} ConnectorHandlers
 * @property {(line: Line, welcome: Message) => void} up
 * @property {(message: Message) => void} message
 * @property {() => void} down
 * @property {() => void} changed there is another state to show
 * @property {(end: {code: number, reason: string}) => void} stopped for good, whatever was before
 * @property {() => boolean} busy whether a change of transports would cost somebody something
 */

export class Connector {
  /** @type {"waiting" | "opening" | "up" | "suspended" | "stopped"} */
  state = "suspended";
  /** attempts that failed in a row */
  attempt = 0;
  /** @type {number | null} when the next attempt is due */
  retryAt = null;
  /** @type {Kind | null} that carries us, or carried us last */
  kind = null;
  /** @type {Line | null} */
  #line = null;
  /** @type {Line | null} a socket that is tried while events carry us */
  #probe = null;
  #probeCount = 0;
  #probedAt = -Infinity;
  #eventsNext = false;
  #triedAt = -Infinity;
  #upAt = 0;
  /** @type {unknown} */
  #timer = null;
  /** @type {unknown} */
  #probeTimer = null;
  #dials;
  #clock;
  #random;
  #bounds;
  #handlers;

  /**
   * @param {{websocket: Dial, events: Dial | null}} dials
   * @param {Clock} clock
   * @param {() => number} random
   * @param {{firstMs: number, mostMs: number}} bounds of the back-off
   * @param {ConnectorHandlers} handlers
   */
  constructor(dials, clock, random, bounds, handlers) {
    this.#dials = dials;
    this.#clock = clock;
    this.#random = random;
    this.#bounds = bounds;
    this.#handlers = handlers;
  }

  /** Begin, or go on after `suspend`. */
  resume() {
    if (this.state === "suspended") this.#open();
  }

  /** Hang up for a while: the page is put away, and may come back. */
  suspend() {
    if (this.state === "stopped" || this.state === "suspended") return;
    const wasUp = this.state === "up";
    this.#hangUp();
    this.attempt = 0;
    if (wasUp) this.#handlers.down();
    this.#become("suspended");
  }

  /** @param {{code: number, reason: string}} end */
  stop(end) {
    if (this.state === "stopped") return;
    this.#hangUp();
    this.state = "stopped";
    this.#handlers.stopped(end);
  }

  /** Something outside has changed: the network is back, somebody looks at the page. */
  nudge() {
    if (this.state === "up") {
      this.doubt();
      if (this.kind === "events" && this.#clock.now() - this.#probedAt >= PROBE_NUDGE_MS) this.#probeAfter(0);
    } else if (this.state === "waiting" && this.#clock.now() - this.#triedAt >= NUDGE_MS) {
      this.#clock.clearTimer(this.#timer);
      this.#open();
    }
  }

  /** There is reason to doubt that the connection still stands. */
  doubt() {
    this.#line?.doubt();
  }

  /**
   * This connection is of no use: leave it and try again.
   * @param {number} code
   * @param {string} reason
   */
  fail(code, reason) {
    const line = this.#line;
    if (!line) return;
    line.close(code, reason);
    this.#lost({ code, reason, welcomed: line.welcomed, late: false });
  }

  #open() {
    const events = this.#dials.events;
    const useEvents = events !== null && (this.#eventsNext || this.attempt % EVENTS_EACH === EVENTS_EACH - 1);
    const kind = (this.kind = useEvents ? "events" : "websocket");
    this.#eventsNext = false;
    this.#triedAt = this.#clock.now();
    this.#become("opening");
    /** @type {Line} */
    const line = new Line(useEvents ? events : this.#dials.websocket, this.#clock, {
      welcome: (welcome) => this.#up(line, welcome, kind),
      message: (message) => this.#handlers.message(message),
      ended: (end) => this.#lost(end),
    });
    this.#line = line;
  }

  /**
   * @param {Line} line
   * @param {Message} welcome
   * @param {Kind} kind
   */
  #up(line, welcome, kind) {
    this.#line = line;
    this.kind = kind;
    this.#upAt = this.#clock.now();
    this.state = "up";
    this.#handlers.up(line, welcome);
    this.#handlers.changed();
    if (kind === "events" && this.#line === line) this.#probeLater();
  }

  /** @param {End} end */
  #lost(end) {
    const wasUp = this.state === "up";
    const { kind } = this;
    if (isFinal(end.code)) {
      this.stop(end);
      return;
    }
    this.#hangUp();
    if (wasUp) this.#handlers.down();
    if (wasUp && this.#clock.now() - this.#upAt >= STABLE_MS) this.attempt = 0;
    // Who was carried by events comes back by events: the sockets were tried beside them.
    this.#eventsNext = kind === "events" ? wasUp : end.late;
    const ms = backoffMs(this.attempt++, this.#random, this.#bounds);
    this.retryAt = this.#clock.now() + ms;
    this.#timer = this.#clock.setTimer(() => this.#open(), ms);
    this.#become("waiting");
  }

  #probeLater() {
    this.#probeAfter(backoffMs(this.#probeCount++, () => 0.5 + this.#random() / 2, PROBE));
  }

  /** @param {number} ms */
  #probeAfter(ms) {
    if (this.#probe) return;
    this.#clock.clearTimer(this.#probeTimer);
    this.#probeTimer = this.#clock.setTimer(() => this.#tryBack(), ms);
  }

  #tryBack() {
    this.#probedAt = this.#clock.now();
    /** @type {Line} */
    const probe = new Line(this.#dials.websocket, this.#clock, {
      welcome: (welcome) => this.#changeOver(probe, welcome),
      message: (message) => this.#handlers.message(message),
      ended: (end) => {
        if (this.#line === probe) {
          this.#lost(end);
        } else {
          this.#probe = null;
          this.#probeLater();
        }
      },
    });
    this.#probe = probe;
  }

  /**
   * A socket stands beside the events: it takes over as soon as that costs nobody anything.
   * @param {Line} probe
   * @param {Message} welcome
   */
  #changeOver(probe, welcome) {
    if (this.#probe !== probe) return;
    if (this.#handlers.busy()) {
      this.#probeTimer = this.#clock.setTimer(() => this.#changeOver(probe, welcome), 1_000);
      return;
    }
    const events = this.#line;
    this.#probe = null;
    this.#probeCount = 0;
    this.attempt = 0;
    this.#line = null;
    events?.close(NORMAL, "");
    this.#handlers.down();
    this.#up(probe, welcome, "websocket");
  }

  #hangUp() {
    const lines = [this.#line, this.#probe];
    this.#line = this.#probe = null;
    this.#clock.clearTimer(this.#timer);
    this.#clock.clearTimer(this.#probeTimer);
    this.retryAt = null;
    for (const line of lines) line?.close(NORMAL, "");
  }

  /** @param {Connector["state"]} state */
  #become(state) {
    this.state = state;
    this.#handlers.changed();
  }
}
