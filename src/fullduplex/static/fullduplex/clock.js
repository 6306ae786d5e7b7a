// The clock: passed in, so that the tests have one that they turn by hand.

/**
 * @typedef {object} Clock
 * @property {() => number} now milliseconds of the calendar, which goes on while a laptop sleeps
 * @property {(callback: () => void, ms: number) => unknown} setTimer
 * @property {(timer: unknown) => void} clearTimer
 */

/** @type {Clock} */
export const clock = {
  now: () => Date.now(),
  setTimer: (callback, ms) => setTimeout(callback, ms),
  clearTimer: (timer) => clearTimeout(/** @type {number} */ (timer)),
};
