#!/usr/bin/env bash
# h2 4.4.1 as a client: after a GOAWAY that lets its requests end, it refuses to read their answers.
# One would expect that the rest of the answer is read: RFC 9113 section 6.8 has a server that shuts down gracefully
# send GOAWAY with NO_ERROR and the identifier 2^31-1, and go on to answer what it has accepted.
# The GOAWAY arrives between the head and the content of an answer. h2 reports ConnectionTerminated, and its state is
# closed from then on: the DATA frame of the very stream that the GOAWAY let live raises ProtocolError.
# It bites clients on h2 (httpx by way of httpcore) at every graceful restart of a server or proxy.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check h2==4.4.1 hyperframe==6.1.0 hpack==4.2.0
cat > program.py <<'PYTHON'
import sys
from importlib.metadata import version

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated
from h2.exceptions import ProtocolError
from hyperframe.frame import DataFrame, GoAwayFrame

GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")]

client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
client.initiate_connection()
server.initiate_connection()
client.send_headers(1, GET, end_stream=True)
server.receive_data(client.data_to_send())
server.send_headers(1, [(":status", "200"), ("content-length", "2")])
client.receive_data(server.data_to_send())

goaway = GoAwayFrame(0, last_stream_id=2**31 - 1, error_code=0).serialize()
told = [type(event) for event in client.receive_data(goaway)] == [ConnectionTerminated]
content = DataFrame(1, b"ok")
content.flags.add("END_STREAM")
try:
    outcome = client.receive_data(content.serialize())
except ProtocolError as error:
    outcome = f"ProtocolError: {error}"

print(f"h2 {version('h2')}, Python {sys.version.split()[0]}")
print("GOAWAY(NO_ERROR, 2^31-1) is told:", told)
print("the content of stream 1 behind it:", outcome)
sys.exit(not told or not str(outcome).startswith("ProtocolError: Invalid input ConnectionInputs.RECV_DATA"))
PYTHON
venv/bin/python program.py
