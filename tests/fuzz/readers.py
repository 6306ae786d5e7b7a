"""All readers by name."""

from __future__ import annotations

from tests.fuzz.config_file import ConfigFile
from tests.fuzz.deflate import Deflate
from tests.fuzz.forwarded import ForwardedFields
from tests.fuzz.handshake import Handshake
from tests.fuzz.harness import Harness
from tests.fuzz.http1 import HTTP1
from tests.fuzz.http2 import HTTP2, HTTP2OverH2
from tests.fuzz.proxy_protocol import ProxyProtocol
from tests.fuzz.websocket import WebSocket

_HARNESSES = (HTTP1, HTTP2, HTTP2OverH2, WebSocket, Deflate, Handshake, ProxyProtocol, ForwardedFields, ConfigFile)

READERS: dict[str, type[Harness]] = {harness.name: harness for harness in _HARNESSES}
