// How long to wait before the next attempt: exponential, with full jitter.
//
// The bound of the wait doubles with each failure, and the wait is anywhere below it, so that a thousand pages that
// lost their server in one moment do not come back in one moment.

/**
 * @param {number} attempt how many attempts have failed in a row: 0 after a connection that worked was lost
 * @param {() => number} random between 0 and 1, as `Math.random`
 * @param {{firstMs: number, mostMs: number}} bounds of the wait after the first failure, and of any
 * @returns {number} milliseconds
 */
export function backoffMs(attempt, random, { firstMs, mostMs }) {
  return random() * Math.min(mostMs, firstMs * 2 ** Math.min(attempt, 30));
}
