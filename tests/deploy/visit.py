"""Visits a site behind nginx on https, as a browser: run in the box, with what the site should say of it."""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import ssl
import subprocess

from websockets.sync.client import connect

SITE, CLIENT, TIMEOUT_S = "chat.example.org", "127.0.0.9", 60


def dial() -> socket.socket:
    return socket.create_connection(("127.0.0.1", 443), TIMEOUT_S, source_address=(CLIENT, 0))


def ask(path: str) -> bytes:
    client = http.client.HTTPSConnection(SITE)
    client.sock = context.wrap_socket(dial(), server_hostname=SITE)
    client.request("GET", path)
    response = client.getresponse()
    content = response.read()
    assert response.status == 200, (path, response.status, content[:1000])
    client.close()
    return content


parser = argparse.ArgumentParser()
parser.add_argument("--shell", help="a command with {code}, which sends to a group from outside the server")
arguments = parser.parse_args()

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

plain = http.client.HTTPConnection("127.0.0.1", 80, timeout=TIMEOUT_S)
plain.request("GET", "/who/?a=b", headers={"Host": SITE})
answer = plain.getresponse()
assert (answer.status, answer.headers["Location"]) == (301, f"https://{SITE}/who/?a=b"), answer.headers
plain.close()
seen = json.loads(ask("/who/"))
assert seen == {"address": CLIENT, "secure": True, "host": SITE}, seen
login = ask("/admin/login/").decode()
(style,) = re.findall(r'href="(/static/admin/css/base[^"]*)"', login)
assert b"{" in ask(style)
assert len(ask("/download/")) > 100_000
url = f"wss://{SITE}/room/tea/"
with connect(url, sock=dial(), ssl=context, origin=f"https://{SITE}", proxy=None, open_timeout=TIMEOUT_S) as websocket:
    assert websocket.recv(TIMEOUT_S) == "welcome"
    websocket.send("hi")
    assert json.loads(websocket.recv(TIMEOUT_S)) == {"text": "hi"}
    if arguments.shell:
        code = "from fullduplex import Group; Group('room.tea').send('from outside')"
        subprocess.run(arguments.shell.format(code=code), shell=True, check=True)
        assert websocket.recv(TIMEOUT_S) == "from outside"
print("visited: all is well", flush=True)
