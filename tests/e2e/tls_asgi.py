"""What an application sees of TLS, and a context factory."""

from __future__ import annotations

import json
import os
import ssl

from tests.e2e import plain_asgi


async def app(scope, receive, send):
    if scope["type"] != "http":
        await plain_asgi.app(scope, receive, send)
    else:
        seen = {"scheme": scope["scheme"], "tls": scope["extensions"].get("tls")}
        await plain_asgi.respond(send, json.dumps(seen).encode())


def make_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["TEST_CERT"])
    return context
