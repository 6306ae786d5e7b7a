"""Proxies before a server of ours, with pools of connections to it, where they are installed."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from tests.e2e.process import START_TIMEOUT_S, Process

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream site {{
        server 127.0.0.1:{upstream} max_fails=0;
        keepalive 32;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://site;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_next_upstream off;  # nothing is tried twice: what the server loses is seen
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    retries 0
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend outside
    bind 127.0.0.1:{port}
    default_backend site
backend site
    http-reuse safe
    server site 127.0.0.1:{upstream}{server}
"""

NGHTTPX = """
workers=1
errorlog-file=/dev/stderr
accesslog-file=/dev/null
insecure=yes
frontend=127.0.0.1,{port};no-tls
backend=127.0.0.1,{upstream};;{server}
"""

# Program, configuration, options before its file, and how the server behind it is spoken to.
KINDS = {
    "nginx": ("nginx", NGINX, ("-e", "stderr", "-c"), ""),
    "haproxy": ("haproxy", HAPROXY, ("-db", "-f"), ""),
    "haproxy, HTTP/2": ("haproxy", HAPROXY, ("-db", "-f"), " proto h2"),
    "haproxy, HTTP/2 over TLS": ("haproxy", HAPROXY, ("-db", "-f"), " ssl verify none alpn h2 sni str(localhost)"),
    "nghttpx, HTTP/2": ("nghttpx", NGHTTPX, ("--conf",), "proto=h2"),
    "nghttpx, HTTP/2 over TLS": ("nghttpx", NGHTTPX, ("--conf",), "proto=h2;tls;sni=localhost"),
}

PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


class Proxy(Process):
    """A proxy process.

    Args:
        name: one of ``KINDS``; the test is skipped where its program is not installed.
        upstream: port of the server behind it.
        folder: for its files.
    """

    def __init__(self, name: str, upstream: int, folder: Path) -> None:
        program_name, template, options, server = KINDS[name]
        program = shutil.which(program_name, path=PATH)
        if program is None:
            pytest.skip(f"{program_name} is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        config = folder / f"{program_name}.conf"
        config.write_text(template.format(folder=folder, port=self._port, upstream=upstream, server=server))
        super().__init__(program, *options, str(config), ready="")

    def __enter__(self) -> Proxy:
        super().__enter__()
        wait_until_open(self, self._port)
        return self

    @property
    def port(self) -> int:
        return self._port

    def end(self) -> None:
        self.kill()


def wait_until_open(process: Process, port: int) -> None:
    """Wait until somebody listens on a port of loopback; where nobody does in time, ``process`` is killed."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.output)
