// What happens to a page: it is put away and brought out again, looked at, taken off the network.

/**
 * @typedef {object} PageHandlers
 * @property {() => void} hide the page goes; it may come back from the back/forward cache
 * @property {() => void} show it is back
 * @property {() => void} nudge there may be a network again, or somebody looks: no time to wait
 * @property {() => void} doubt there may be no network any more
 */

/**
 * Follow the page, if there is one.
 * @param {PageHandlers} handlers
 * @returns {() => void} that ends it
 */
export function watchPage({ hide, show, nudge, doubt }) {
  if (typeof document === "undefined") return () => {};
  const ending = new AbortController();
  const options = { signal: ending.signal };
  // A browser may answer pings for a page in its back/forward cache, which then never sees the messages: so hang up.
  addEventListener("pagehide", hide, options);
  addEventListener("pageshow", show, options);
  addEventListener("online", nudge, options);
  addEventListener("offline", doubt, options);
  document.addEventListener("resume", nudge, options);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && nudge(), options);
  return () => ending.abort();
}
