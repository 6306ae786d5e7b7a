// Reads `text/event-stream`, as it comes in pieces: the data of its events, and nothing else.
//
// Source: HTML, section 9.2.6, "Interpreting an event stream".

export class EventStream {
  #rest = "";
  /** @type {string[]} */
  #lines = [];
  #decoder = new TextDecoder("utf-8");

  /**
   * @param {Uint8Array} bytes
   * @returns {string[]} the data of the events that are complete now
   */
  push(bytes) {
    // A carriage return at the end may be half of a line end.
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    const events = [];
    for (const line of lines) {
      const data = /^data(?:: ?|$)(.*)$/s.exec(line);
      if (data) {
        this.#lines.push(data[1]);
      } else if (line === "") {
        if (this.#lines.length) events.push(this.#lines.join("\n"));
        this.#lines = [];
      }
    }
    return events;
  }
}
