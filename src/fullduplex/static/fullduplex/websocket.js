// The transport that carries everything both ways: a WebSocket.

import { NORMAL, PROTOCOL, SILENT, parse } from "./protocol.js";

/**
 * @param {string | URL} url
 * @returns {import("./line.js").Dial}
 */
export function websocket(url) {
  return ({ came, ended }) => {
    const socket = new WebSocket(url, PROTOCOL);
    socket.onmessage = ({ data }) => came(parse(data));
    socket.onclose = ({ code, reason }) => ended({ code, reason });
    return {
      answers: true,
      send: (message) => socket.send(message),
      close(code, reason) {
        socket.onmessage = socket.onclose = null;
        // A page may say no other codes than 1000 and those from 3000 on.
        socket.close(code === NORMAL || code >= 3000 ? code : SILENT, reason);
      },
    };
  };
}
