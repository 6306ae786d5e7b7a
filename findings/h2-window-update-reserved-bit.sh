#!/usr/bin/env bash
# h2 4.4.1 (hyperframe 6.1.0): a WINDOW_UPDATE whose reserved bit is set ends the connection with ProtocolError.
# One would expect that the bit is ignored: RFC 9113 section 6.9 gives the increment 31 bits behind one reserved bit,
# and section 2.2 (with 4.1) has reserved fields ignored on receipt.
# The frame reader takes all 32 bits for the increment, finds it above 2^31-1, and calls the frame malformed. The same
# frame without the bit is taken. libnghttp2 takes both.
# It bites servers on h2 whose clients, or proxies, do not clear the bit.

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
from h2.events import WindowUpdated
from h2.exceptions import ProtocolError

START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # preface, empty SETTINGS
WINDOW_UPDATE = b"\x00\x00\x04\x08\x00\x00\x00\x00\x00"  # 4 bytes long, of stream 0


def outcome(increment):
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    try:
        events = server.receive_data(START + WINDOW_UPDATE + increment.to_bytes(4, "big"))
    except ProtocolError as error:
        return f"ProtocolError: {error}"
    return [event.delta for event in events if isinstance(event, WindowUpdated)]


plain, reserved = outcome(5), outcome(5 | 1 << 31)
print(f"h2 {version('h2')}, hyperframe {version('hyperframe')}, Python {sys.version.split()[0]}")
print("without the bit:", plain)
print("with the bit:   ", reserved)
sys.exit(plain != [5] or reserved != "ProtocolError: Received frame with non-compliant data")
PYTHON
venv/bin/python program.py
