#!/usr/bin/env bash
# h2 4.4.1 (hyperframe 6.1.0): a server that sets `connection.local_settings[MAX_CONCURRENT_STREAMS] = 1` before
# `initiate_connection()` announces 100, and enforces 1.
# One would expect the first SETTINGS frame to say 1, or the assignment to have no effect at all.
# The frame still has the old value. The new one waits for the client's acknowledgement as if it had been sent; the
# acknowledgement of the frame that said 100 brings it into force. A client that keeps to what it was told then has
# its second stream answered with TooManyStreamsError, which ends the connection.
# It bites whoever configures h2 by key; only replacing the whole `Settings(initial_values=...)` does what is meant.

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
from h2.events import RemoteSettingsChanged
from h2.exceptions import TooManyStreamsError
from h2.settings import SettingCodes

LIMIT = SettingCodes.MAX_CONCURRENT_STREAMS
GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")]

server = H2Connection(H2Configuration(client_side=False))
server.local_settings[LIMIT] = 1
server.initiate_connection()

client = H2Connection()
client.initiate_connection()
(told,) = [e for e in client.receive_data(server.data_to_send()) if isinstance(e, RemoteSettingsChanged)]
announced = told.changed_settings[LIMIT].new_value
server.receive_data(client.data_to_send())  # with the acknowledgement
for stream in (1, 3):
    client.send_headers(stream, GET)
try:
    server.receive_data(client.data_to_send())
    enforced = "both streams are taken"
except TooManyStreamsError:
    enforced = "TooManyStreamsError"

print(f"h2 {version('h2')}, hyperframe {version('hyperframe')}, Python {sys.version.split()[0]}")
print(f"set before the start: 1; announced: {announced}; two streams: {enforced}")
sys.exit((announced, enforced) != (100, "TooManyStreamsError"))
PYTHON
venv/bin/python program.py
