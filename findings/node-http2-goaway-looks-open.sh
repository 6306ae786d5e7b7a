#!/usr/bin/env bash
# Node 20.20.2, http2 client: after a graceful GOAWAY the session says that it is open, and refuses every request.
# One would expect `session.closed` to be true in the listener of "goaway", or `session.request()` to throw
# ERR_HTTP2_GOAWAY_SESSION: that is how a pool finds out that it needs another session before it gives a request away.
# The server says GOAWAY(NO_ERROR, 2^31-1) while an answer is on its way, as RFC 9113 section 6.8 has it. The answer ends
# well. But `closed` and `destroyed` are false, `request()` gives a stream, and that fails with an event: code
# ERR_HTTP2_STREAM_ERROR, NGHTTP2_REFUSED_STREAM. Nothing of it was sent, so it can be sent again, which the caller must
# do himself.
# It bites pools and proxies that are written on Node, at every graceful restart of a server.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check h2==4.4.1 hyperframe==6.1.0 hpack==4.2.0
npm install --silent --no-fund --no-audit node@20.20.2 > npm.log

cat > server.py <<'PYTHON'
import socket

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sock = listener.accept()[0]
connection = H2Connection(H2Configuration(client_side=False))
connection.initiate_connection()
while not any(isinstance(event, RequestReceived) for event in connection.receive_data(sock.recv(65_536))):
    sock.sendall(connection.data_to_send())
connection.send_headers(1, [(":status", "200"), ("content-length", "2")])
sock.sendall(connection.data_to_send() + GoAwayFrame(0, last_stream_id=2**31 - 1, error_code=0).serialize())

# The client answers with a GOAWAY of its own, behind which h2 sends no more: frame by frame from here on.
sock.settimeout(1)
heard = b""
try:
    while data := sock.recv(65_536):
        heard += data
except TimeoutError:
    pass
content = DataFrame(1, b"ok")
content.flags.add("END_STREAM")
sock.sendall(content.serialize())
while data := sock.recv(65_536):
    heard += data
requests = 1
while heard:
    frame, length = Frame.parse_frame_header(memoryview(heard[:9]))
    requests += isinstance(frame, HeadersFrame)
    heard = heard[9 + length :]
print("requests that arrived:", requests, flush=True)
PYTHON

cat > client.mjs <<'JAVASCRIPT'
import http2 from "node:http2";

const session = http2.connect(`http://127.0.0.1:${process.argv[2]}`);
session.on("goaway", (code, last) => {
  console.log(`goaway ${code} ${last}: closed ${session.closed}, destroyed ${session.destroyed}`);
  try {
    const second = session.request({ ":path": "/second" });
    second.on("error", (error) => console.log(`second: ${error.code} ${error.message}`));
    second.on("response", () => console.log("second: answered"));
    second.resume();
  } catch (error) {
    console.log(`second: thrown ${error.code}`);
  }
});
const first = session.request({ ":path": "/first" });
let content = "";
first.on("data", (data) => { content += data; });
first.on("end", () => console.log(`first: ${content}`));
JAVASCRIPT

venv/bin/python server.py > server.txt & server=$!
until [ -s server.txt ]; do sleep 0.1; done
node_modules/.bin/node --version
node_modules/.bin/node client.mjs "$(head -1 server.txt)" | tee client.txt
wait "$server"
tail -1 server.txt
cat > expected.txt <<'TEXT'
goaway 0 2147483647: closed false, destroyed false
second: ERR_HTTP2_STREAM_ERROR Stream closed with error code NGHTTP2_REFUSED_STREAM
first: ok
TEXT
diff client.txt expected.txt
[ "$(tail -1 server.txt)" = "requests that arrived: 1" ]
