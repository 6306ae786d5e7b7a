// The transport for networks that let no WebSocket through: events come as a stream over HTTP, requests go by POST.
//
// It speaks the same messages, so that nobody above sees a difference. A stream has a fixed list of groups: a further
// subscription opens another stream in its place, which goes on behind the positions that are known.

import { ABNORMAL, FORBIDDEN, NO_ACCESS, REFUSED, eventId, isFinalStatus, parse } from "./protocol.js";
import { EventStream } from "./event-stream.js";

/** @typedef {import("./protocol.js").Position} Position */
/** @typedef {import("./line.js").TransportHandlers} TransportHandlers */
/** @typedef {import("./line.js").Transport} Transport */

const KEEPALIVE_BYTES = 32_768; // a browser takes 64 KiB at most for requests that outlive their page
const NO_STREAM_S = 86_400; // "heartbeat" of a client that listens to nothing

/**
 * What the client wants of a stream.
 * @typedef {object} Wants
 * @property {() => {group: string, position: Position | null}[]} groups
 * @property {() => Promise<string | null> | string | null} token null: none
 */

/**
 * @typedef {object} EventsOptions
 * @property {() => string} csrfToken
 * @property {boolean} guessed that there are events at this address
 */

/**
 * @param {URL} url
 * @param {EventsOptions} options
 * @returns {(wants: Wants) => import("./line.js").Dial}
 */
export function events(url, options) {
  return (wants) => (handlers) => new Events(url, options, wants, handlers);
}

/** @implements {Transport} */
class Events {
  answers = false;
  #ended = false;
  #welcomed = false;
  #token = "";
  /** @type {AbortController | null} of the stream that is read */
  #reading = null;
  /** @type {Set<string>} groups that the stream has still to say something about */
  #awaited = new Set();
  /** @type {Map<string, number>} subscriptions that wait for their answer: group and id */
  #asked = new Map();
  /** @type {Set<string>} groups that are subscribed to */
  #had = new Set();
  #reopening = false;
  #publishes = Promise.resolve();
  #url;
  #options;
  #wants;
  #handlers;

  /**
   * @param {URL} url
   * @param {EventsOptions} options
   * @param {Wants} wants
   * @param {TransportHandlers} handlers
   */
  constructor(url, options, wants, handlers) {
    this.#url = url;
    this.#options = options;
    this.#wants = wants;
    this.#handlers = handlers;
    this.#open().catch((error) => this.#end(ABNORMAL, String(error)));
  }

  /** @param {string} text */
  send(text) {
    const request = JSON.parse(text);
    if (request.type === "subscribe") {
      this.#asked.set(request.group, request.id);
      if (!this.#awaited.has(request.group)) this.#reopen();
    } else if (request.type === "unsubscribe") {
      this.#asked.delete(request.group);
      this.#had.delete(request.group); // the next stream is without it
      this.#handlers.came({ type: "reply", id: request.id });
    } else if (request.type === "publish") {
      this.#publishes = this.#publishes.then(() => this.#post(request.id, text));
    } else {
      this.#post(request.id, text);
    }
  }

  close() {
    this.#ended = true;
    this.#reading?.abort();
  }

  async #open() {
    this.#token = (await this.#wants.token()) ?? "";
    if (this.#wants.groups().length) await this.#stream();
    else this.#welcomeNobody();
  }

  /** Several subscriptions in a row cost one stream. */
  #reopen() {
    if (this.#reopening) return;
    this.#reopening = true;
    setTimeout(() => {
      this.#reopening = false;
      if (!this.#ended) this.#stream().catch((error) => this.#end(ABNORMAL, String(error)));
    });
  }

  async #stream() {
    this.#reading?.abort();
    const reading = (this.#reading = new AbortController());
    const wanted = this.#wants.groups();
    this.#awaited = new Set(wanted.map(({ group }) => group));
    const url = new URL(this.#url);
    for (const group of this.#awaited) url.searchParams.append("group", group);
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream", ...this.#authorization() };
    if (wanted.some(({ position }) => position)) {
      headers["Last-Event-ID"] = eventId(wanted.map(({ position }) => position));
    }
    try {
      const response = await fetch(url, { headers, cache: "no-store", signal: reading.signal });
      if (!this.#accepts(response) || !response.body) return;
      const stream = new EventStream();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (reading.signal.aborted) return;
        if (done) break;
        this.#handlers.heard();
        for (const data of stream.push(value)) this.#event(parse(data));
      }
    } catch (error) {
      if (reading.signal.aborted) return;
      throw error;
    }
    this.#end(ABNORMAL, "The stream has ended.");
  }

  /** @param {Response} response */
  #accepts({ status, redirected, headers }) {
    if (status === 200 && headers.get("Content-Type")?.startsWith("text/event-stream")) return true;
    const passes = status === 404 ? this.#options.guessed : !isFinalStatus(status);
    if (redirected || status === 401) this.#end(NO_ACCESS, "unauthorized");
    else if (status === 403) this.#end(FORBIDDEN, "forbidden");
    else this.#end(passes ? ABNORMAL : REFUSED, `HTTP status ${status}`);
    return false;
  }

  /** @param {any} event */
  #event(event) {
    if (event?.type === "welcome") {
      if (!this.#welcomed) this.#handlers.came({ ...event, token: false }); // it went with the request
      this.#welcomed = true;
    } else if (event?.type === "subscribed" || event?.type === "unsubscribed") {
      this.#answer(event);
    } else if (event?.group === undefined || this.#had.has(event.group)) {
      this.#handlers.came(event);
    }
  }

  /** @param {any} event what became of a group */
  #answer(event) {
    const { type, group, recovered, position, code, reason } = event;
    const id = this.#asked.get(group);
    this.#asked.delete(group);
    this.#awaited.delete(group);
    if (type === "unsubscribed") {
      const had = this.#had.delete(group);
      if (id !== undefined) this.#handlers.came({ type: "error", id, code, message: reason });
      else if (had) this.#handlers.came(event);
    } else if (id !== undefined) {
      this.#had.add(group);
      this.#handlers.came({ ...event, id });
    } else if (this.#had.has(group) && (!recovered || position === null)) {
      this.#handlers.came({ type: "gap", group, position });
    }
  }

  /**
   * @param {number} id
   * @param {string} text
   */
  async #post(id, text) {
    if (this.#ended) return;
    try {
      const response = await fetch(this.#url, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          "X-CSRFToken": this.#options.csrfToken(),
          ...this.#authorization(),
        },
        body: text,
        cache: "no-store",
        keepalive: text.length < KEEPALIVE_BYTES / 3, // in UTF-8 a character has three bytes at most
      });
      const answer = response.headers.get("Content-Type")?.startsWith("application/json") && parse(await response.text());
      if (this.#ended) return;
      if (answer) {
        this.#handlers.came({ ...answer, id });
      } else if (response.redirected || isFinalStatus(response.status)) {
        const codes = /** @type {Record<number, string>} */ ({ 403: "forbidden", 404: "not_found", 413: "too_large" });
        const code = response.redirected ? "unauthorized" : (codes[response.status] ?? "bad_request");
        this.#handlers.came({ type: "error", id, code, message: `HTTP status ${response.status}` });
      } else {
        this.#end(ABNORMAL, `HTTP status ${response.status}`);
      }
    } catch (error) {
      this.#end(ABNORMAL, String(error));
    }
  }

  /** @returns {Record<string, string>} */
  #authorization() {
    return this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
  }

  /** There is nothing to listen to, and requests can be sent. */
  #welcomeNobody() {
    this.#welcomed = true;
    this.#handlers.came({
      type: "welcome",
      protocol: "fullduplex.v1",
      heartbeat_s: NO_STREAM_S,
      max_message_bytes: 65_536,
      max_groups: 100,
      max_requests: 10,
      token: false,
    });
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #end(code, reason) {
    if (this.#ended) return;
    this.close();
    this.#handlers.ended({ code, reason });
  }
}

/** The token of Django's CSRF protection: from its cookie, or from a form of the page. */
export function csrfToken() {
  if (typeof document === "undefined") return "";
  const cookie = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie);
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector("[name=csrfmiddlewaretoken]"));
  return cookie?.[1] ?? field?.value ?? "";
}
