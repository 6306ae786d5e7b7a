// Tells a connection that is silent from one that is dead.
//
// A dead peer says nothing: nobody told it, or the network in between has forgotten the connection. So who has heard
// nothing for an interval asks, and who gets no answer in time gives the connection up.
//
// The clock is that of the calendar and looked at often, since timers stand still while a laptop sleeps, and come once
// a minute in hidden tabs of Chromium.

const TICK_MOST_MS = 5_000;
const ANSWER_MOST_MS = 10_000;

/** @typedef {import("./clock.js").Clock} Clock */

export class Heartbeat {
  /** @type {unknown} */
  #timer = null;
  #heardAt;
  #tickedAt;
  /** @type {number | null} */
  #askedAt = null;
  #clock;
  #intervalMs;
  #tickMs;
  #answerMs;
  #ask;
  #dead;

  /**
   * @param {Clock} clock
   * @param {number} intervalMs silence after which the peer is asked
   * @param {(() => void) | null} ask null: the peer cannot be asked, but speaks by itself each interval
   * @param {() => void} dead called once, when no answer came in time
   */
  constructor(clock, intervalMs, ask, dead) {
    this.#clock = clock;
    this.#intervalMs = intervalMs;
    this.#tickMs = Math.min(TICK_MOST_MS, intervalMs / 2);
    this.#answerMs = ask ? Math.min(ANSWER_MOST_MS, intervalMs) : intervalMs;
    this.#ask = ask;
    this.#dead = dead;
    this.#heardAt = this.#tickedAt = clock.now();
    this.#wait();
  }

  /** Something came from the peer. */
  heard() {
    this.#heardAt = this.#clock.now();
    this.#askedAt = null;
  }

  /** There is reason to doubt: ask now. */
  doubt() {
    if (this.#ask && this.#askedAt === null) this.#question();
  }

  stop() {
    this.#clock.clearTimer(this.#timer);
  }

  #wait() {
    this.#timer = this.#clock.setTimer(() => this.#tick(), this.#tickMs);
  }

  #question() {
    this.#askedAt = this.#clock.now();
    this.#ask?.();
  }

  #tick() {
    const now = this.#clock.now();
    // Late: the page stood still, and what came meanwhile may not have been handed to it yet. So ask once more.
    const late = now - this.#tickedAt > 2 * this.#tickMs + 1_000;
    this.#tickedAt = now;
    this.#heardAt = Math.min(this.#heardAt, now); // somebody has put the clock back
    if (this.#askedAt !== null && !late && now - this.#askedAt >= this.#answerMs) {
      this.#dead();
      return;
    }
    if (this.#askedAt === null ? now - this.#heardAt >= this.#intervalMs : late) this.#question();
    this.#wait();
  }
}
