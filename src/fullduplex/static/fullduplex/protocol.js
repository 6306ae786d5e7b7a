// What `fullduplex.v1` says, without any connection: docs/reference/protocol.md is the authority.

export const PROTOCOL = "fullduplex.v1";

// Close codes.
export const NORMAL = 1000;
export const ABNORMAL = 1006;
export const REFUSED = 1008;
export const NO_ACCESS = 3000; // unauthorized, as registered; the next is forbidden
export const FORBIDDEN = 3003;
export const SILENT = 4000;
export const NO_MESSAGE = 4500;
export const UNAUTHORIZED = 4501;

const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003]);
const PASSING_STATUSES = new Set([408, 425, 429]);
const PASSING_ERRORS = new Set(["limit", "timeout", "unavailable"]);

/**
 * Whether nobody comes back after this close code.
 * @param {number} code
 */
export function isFinal(code) {
  return FINAL.has(code) || (code >= 4500 && code <= 4999);
}

/**
 * Whether nobody asks again after this status of HTTP.
 * @param {number} status
 */
export function isFinalStatus(status) {
  return status >= 300 && status < 500 && !PASSING_STATUSES.has(status);
}

/**
 * Whether a request that failed with this code may be asked again later.
 * @param {string} code
 */
export function isPassing(code) {
  return PASSING_ERRORS.has(code);
}

/**
 * A place in the history of a group. Offsets count its messages; an epoch is the life of one such count.
 * @typedef {{offset: number, epoch: string}} Position
 */

/**
 * What the server says: an object with a type. Which further members it has depends on the type.
 * @typedef {{type: string, [member: string]: any}} Message
 */

/** @typedef {(value: any) => boolean} Check */

/** @type {Check} */
const text = (value) => typeof value === "string";
/** @type {Check} */
const flag = (value) => typeof value === "boolean";
/** @type {Check} */
const count = (value) => Number.isSafeInteger(value) && value >= 0;
/** @type {Check} */
const place = (value) => value === null || (isObject(value) && count(value.offset) && text(value.epoch));

/** @type {Record<string, Record<string, Check>>} the types that we know, and the members that each must have */
const SHAPES = {
  welcome: {
    protocol: (value) => value === PROTOCOL,
    heartbeat_s: (value) => typeof value === "number" && value > 0,
    max_message_bytes: count,
    max_groups: count,
    max_requests: count,
    token: flag,
  },
  subscribed: { id: count, group: text, recovered: flag, position: place },
  unsubscribed: { group: text, code: text, reason: text },
  message: { group: text, offset: (value) => value === undefined || count(value) },
  gap: { group: text, position: place },
  reply: { id: count },
  error: { id: (value) => value === null || count(value), code: text, message: text },
  ping: {},
  pong: {},
};

/**
 * @param {any} value
 * @returns {boolean}
 */
function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/**
 * @param {unknown} text
 * @returns {unknown} undefined: it is no JSON
 */
export function parse(text) {
  try {
    return JSON.parse(/** @type {string} */ (text));
  } catch {
    return undefined;
  }
}

/**
 * @param {any} value what came
 * @returns {Message | "ignored" | "invalid"} ignored: of a later version; invalid: the peer speaks something else
 */
export function check(value) {
  if (!isObject(value) || !text(value.type)) return "invalid";
  if (!Object.hasOwn(SHAPES, value.type)) return "ignored";
  const sound = Object.entries(SHAPES[value.type]).every(([member, holds]) => holds(value[member]));
  if (!sound || (value.type === "message" && value.data === undefined && !text(value.base64))) return "invalid";
  return value;
}

/**
 * The data of a message: JSON, or bytes.
 * @param {Message} message
 */
export function dataOf(message) {
  if (message.base64 === undefined) return message.data;
  return Uint8Array.from(atob(message.base64), (character) => character.charCodeAt(0));
}

/**
 * The id of an event: the position in each group.
 * @param {(Position | null)[]} positions
 */
export function eventId(positions) {
  return positions.map((position) => (position ? `${position.offset}:${position.epoch}` : "")).join(",");
}

/** Why a request failed, or the client has closed. */
export class ClientError extends Error {
  /**
   * @param {string} code of the protocol or of the project; or `closed`, `full` (too much waits), `lost` (whether a call
   *     was done is unknown) and `timeout` of the client itself
   * @param {string} message for the developer
   */
  constructor(code, message) {
    super(message || code);
    this.name = "ClientError";
    this.code = code;
  }
}
