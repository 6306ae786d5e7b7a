"""The proxies of ``docs/howto/proxies.md``, each run with the configuration that the page shows.

Only places are replaced: ports, folders and addresses of this machine. What a distribution's own files say around a
configuration (which modules Apache loads, that nginx has a block for http) stands here.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.process import Process
from tests.e2e.proxies import PATH
from tests.e2e.startproject import free_port
from tests.guides import HOWTO, blocks, section

SITE = "chat.example.org"
STATIC = ("nginx", "Apache", "Caddy")  # those that serve static files

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ }}
{stream}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

APACHE_MODULES = Path("/usr/lib/apache2/modules")
APACHE = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog /dev/stderr
Listen 127.0.0.1:{port}
{modules}
User www-data
Group www-data
{site}
"""
# What Debian has loaded already, and what the page has enabled.
APACHE_LOADED = ("mpm_event", "authz_core", "alias", "socache_shmcb", "ssl", "headers", "proxy", "proxy_http")

CADDY = """
{{
    admin off
    skip_install_trust
    auto_https disable_redirects
    storage file_system {folder}/caddy
}}
{site}
"""


@dataclass
class Places:
    """Where the site is on this machine."""

    folder: Path
    certificate: Path
    key: Path
    port: int = field(default_factory=free_port)
    inner_port: int = field(default_factory=free_port)
    server_port: int = field(default_factory=free_port)

    @property
    def uds(self) -> str:
        return str(self.folder / "http.sock")

    def put(self, text: str, **places: object) -> str:
        """Replace the places of the page by those of this machine."""
        both = self.folder / "both.pem"
        both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        known = {
            "/run/mysite/http.sock": self.uds,
            "/etc/ssl/mysite/fullchain.pem": self.certificate,
            "/etc/ssl/mysite/privkey.pem": self.key,
            "/etc/ssl/mysite/both.pem": both,
            "/srv/mysite/static": self.folder / "static",
            "127.0.0.1:8000": f"127.0.0.1:{self.server_port}",
            "127.0.0.1:6086": f"127.0.0.1:{self.inner_port}",
        }
        for old, new in {**known, **places}.items():
            text = text.replace(old, str(new))
        return text


def server_options(title: str, places: Places) -> list[str]:
    """Those of the command in a section; where it has none, of the first command of the page."""
    text = section("proxies", title)
    commands = [line for block in blocks(text, "console") for line in block.splitlines() if "fullduplex" in line]
    commands += blocks((HOWTO / "proxies.md").read_text(), "console")[0].splitlines()
    _, _, options = commands[0].partition("mysite.asgi:application ")
    options = places.put(options, **{"tls-ports 443": f"tls-ports {places.port}"})
    # In place of a group: whoever runs these tests is in none with www-data.
    return [*options.split(), *(("--uds-mode", "666") if "--uds" in options else ("--port", str(places.server_port)))]


def config_of(title: str, language: str, number: int = 0) -> str:
    return blocks(section("proxies", title), language)[number]


def proxies(name: str, places: Places) -> list[tuple[Process, int]]:
    """The processes of one proxy, not yet started, and their ports; the test is skipped where it is not installed."""
    return _PROXIES[name](places)


def _program(name: str) -> str:
    program = shutil.which(name, path=PATH)
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


def _write(places: Places, name: str, text: str) -> str:
    file = places.folder / name
    file.write_text(text)
    return str(file)


def _nginx(places: Places) -> list[tuple[Process, int]]:
    http = places.put(config_of("nginx", "nginx"), **{"listen 443": f"listen 127.0.0.1:{places.port}"})
    http = http.replace("listen 80", f"listen 127.0.0.1:{places.inner_port}")
    return [_nginx_process(places, http=http)]


def _nginx_stream(places: Places) -> list[tuple[Process, int]]:
    stream = places.put(config_of("PROXY protocol", "nginx"), **{"listen 443": f"listen 127.0.0.1:{places.port}"})
    if NGINX_STREAM.exists():
        stream = f"load_module {NGINX_STREAM};\n{stream}"
    elif "--with-stream" not in _built_with(_program("nginx")):
        pytest.skip("nginx has no stream module: libnginx-mod-stream is not installed")
    return [_nginx_process(places, stream=stream)]


def _built_with(nginx: str) -> list[str]:
    return subprocess.run([nginx, "-V"], check=True, capture_output=True, text=True).stderr.split()


def _nginx_process(places: Places, http: str = "", stream: str = "") -> tuple[Process, int]:
    text = NGINX.format(folder=places.folder, http=http, stream="")
    text = stream + text if "load_module" in stream else text.replace("events", f"{stream}\nevents")
    config = _write(places, "nginx.conf", text)
    return Process(_program("nginx"), "-e", "stderr", "-c", config, ready=""), places.port


def _haproxy(places: Places) -> list[tuple[Process, int]]:
    text = places.put(config_of("HAProxy", "haproxy"), **{"bind :443": f"bind 127.0.0.1:{places.port}"})
    return [(Process(_program("haproxy"), "-db", "-f", _write(places, "haproxy.cfg", text), ready=""), places.port)]


def _apache(places: Places) -> list[tuple[Process, int]]:
    site = places.put(config_of("Apache", "apache"), **{"*:443": f"*:{places.port}"})
    modules = "\n".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in APACHE_LOADED)
    text = APACHE.format(folder=places.folder, port=places.port, modules=modules, site=site)
    return [(Process(_program("apache2"), "-X", "-f", _write(places, "apache.conf", text), ready=""), places.port)]


def _caddy(places: Places) -> list[tuple[Process, int]]:
    site = places.put(config_of("Caddy", "caddyfile"))
    # A name that Caddy gets no certificate for from outside.
    site = site.replace(f"{SITE} {{", f"https://{SITE}:{places.port} {{\n    tls {places.certificate} {places.key}", 1)
    config = _write(places, "Caddyfile", CADDY.format(folder=places.folder, site=site))
    home = {"HOME": str(places.folder), "XDG_DATA_HOME": str(places.folder), "XDG_CONFIG_HOME": str(places.folder)}
    command = (_program("caddy"), "run", "--config", config, "--adapter", "caddyfile")
    return [(Process(*command, env=home, ready=""), places.port)]


def _varnish(places: Places) -> list[tuple[Process, int]]:
    (line,) = blocks(section("proxies", "Varnish"), "console")[0].splitlines()
    vcl = _write(places, "mysite.vcl", places.put(config_of("Varnish", "vcl")))
    options = places.put(line.partition("varnishd ")[2], **{"/etc/varnish/mysite.vcl": vcl}).split()
    options += ["-F", "-n", str(places.folder / "varnish"), "-s", "malloc,32m", "-j", "none"]
    return [(Process(_program("varnishd"), *options, ready=""), places.inner_port), *_stunnel(places, "Varnish")]


def _stunnel(places: Places, title: str = "PROXY protocol") -> list[tuple[Process, int]]:
    text = places.put(config_of(title, "ini"), **{"accept = 443": f"accept = 127.0.0.1:{places.port}"})
    config = _write(places, "stunnel.conf", f"foreground = yes\npid =\n{text}")
    return [(Process(_program("stunnel"), config, ready=""), places.port)]


_PROXIES = {
    "nginx": _nginx,
    "HAProxy": _haproxy,
    "Apache": _apache,
    "Caddy": _caddy,
    "Varnish": _varnish,
    "stunnel": _stunnel,
    "nginx stream": _nginx_stream,
}
