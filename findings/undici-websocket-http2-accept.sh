#!/usr/bin/env bash
# undici 7.30.0 (npm), WebSocket over HTTP/2: it refuses a server that answers as RFC 8441 says.
# One would expect that status 200 opens the socket: RFC 8441 section 5 replaces Sec-WebSocket-Key and
# Sec-WebSocket-Accept, which have no meaning over HTTP/2, by the pseudo-header :protocol and the status.
# The client sends the key all the same, wants its hash in Sec-WebSocket-Accept, and fails the socket without it:
# an event "error" without a message, then "close" with 1006. With that header, the same server's socket opens.
# It bites servers that keep to the RFC, when a Node client on undici is told `allowH2`.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check h2==4.4.1 hyperframe==6.1.0 hpack==4.2.0 trustme==1.2.1
npm install --silent --no-fund --no-audit undici@7.30.0 > npm.log

cat > server.py <<'PYTHON'
import base64
import hashlib
import socket
import ssl
import sys

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.settings import SettingCodes, Settings

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.set_alpn_protocols(["h2"])
authority = trustme.CA()
authority.issue_cert("localhost").configure_cert(context)
authority.cert_pem.write_to_path("ca.pem")
listener = socket.create_server(("localhost", 0))
print(listener.getsockname()[1], flush=True)
sock = context.wrap_socket(listener.accept()[0], server_side=True)
connection = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
connection.local_settings = Settings(client=False, initial_values={SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
connection.initiate_connection()
sock.sendall(connection.data_to_send())
while data := sock.recv(65_536):
    for event in connection.receive_data(data):
        if isinstance(event, RequestReceived):
            head = dict(event.headers)
            assert (head[":method"], head[":protocol"]) == ("CONNECT", "websocket")
            answer = [(":status", "200")]
            if sys.argv[1] == "with":
                key = head["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                answer.append(("sec-websocket-accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()))
            connection.send_headers(event.stream_id, answer)
            connection.send_data(event.stream_id, b"\x81\x05hello")
    sock.sendall(connection.data_to_send())
PYTHON

cat > client.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { Agent, WebSocket } from "undici";

const dispatcher = new Agent({ allowH2: true, connect: { ca: readFileSync("ca.pem") } });
const socket = new WebSocket(`wss://localhost:${process.argv[2]}/`, { dispatcher });
const seen = [];
const end = () => { console.log(seen.join(", ")); process.exit(); };
socket.onopen = () => seen.push("open");
socket.onmessage = (event) => { seen.push(`message ${event.data}`); end(); };
socket.onclose = (event) => { seen.push(`close ${event.code}`); end(); };
JAVASCRIPT

try() {
  venv/bin/python server.py "$1" > port & server=$!
  until [ -s port ]; do sleep 0.1; done
  node client.mjs "$(cat port)"
  kill "$server" 2> kill.log || true
  wait "$server" 2> wait.log || true
  rm port
}
without=$(try without)
with=$(try with)
echo "undici 7.30.0, Node $(node --version)"
echo "status 200 without Sec-WebSocket-Accept: $without"
echo "status 200 with it: $with"
[ "$without" = "close 1006" ] && [ "$with" = "open, message hello" ]
