"""The configuration of a server: one frozen dataclass that documents itself.

The metadata of each field is all there is: options, environment variables, keys of the configuration
file and the reference page are made from it by :mod:`fullduplex.server.settings`, and so are the checks, which hold
for values from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from fullduplex.gateway.forwarded import ProxyConfig
from fullduplex.limits import (
    Checked,
    ConnectionLimits,
    HTTP1Limits,
    HTTP2Limits,
    LoadLimits,
    RecycleLimits,
    WebSocketLimits,
    opt,
)
from fullduplex.net.tls_config import TLSConfig
from fullduplex.server.cores import cores_count

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig(Checked):
    """What a server is told.

    Raises:
        ConfigurationError: a value is of another kind, not among the choices, or out of range.
    """

    app: str = opt("", "The ASGI application: module:attribute.", group="Application", positional=True)
    app_dir: str = opt(
        "", "Look for the application in this directory, too.", group="Application", flags=("--app-dir",), metavar="DIR"
    )
    interface: str = opt(
        "asgi", "What the application speaks.", group="Application", flags=("--interface",), choices=("asgi", "wsgi")
    )
    wsgi_threads_count: int = opt(
        16,
        "Threads that call a WSGI application; requests beyond wait in order. waitress: 4.",
        group="Application",
        flags=("--wsgi-threads",),
        minimum=1,
    )
    root_path: str = opt(
        "",
        "Path under which a proxy mounts the application, and which it strips: put back in front of every path. "
        "Never taken from a header.",
        group="Application",
        flags=("--root-path",),
        metavar="PATH",
    )
    lifespan: str = opt(
        "auto",
        "Speak the lifespan protocol.",
        group="Application",
        flags=("--lifespan",),
        choices=("auto", "on", "off"),
    )
    startup_timeout_s: float = opt(
        60.0,
        "The application's lifespan startup must answer within this.",
        group="Application",
        flags=("--timeout-startup",),
    )

    host: str = opt(
        "127.0.0.1",
        "Address to listen on, where neither --bind, --uds, --fd nor systemd says so.",
        group="Listening",
        flags=("--host",),
    )
    port: int = opt(
        8000,
        "Port to listen on; 0 takes a free one.",
        group="Listening",
        flags=("--port", "-p"),
        metavar="PORT",
        maximum=65_535,
    )
    bind: tuple[str, ...] = opt(
        (),
        "Listen here: host:port, [ipv6]:port, a host alone (with --port), unix:PATH or fd://N. May be repeated.",
        group="Listening",
        flags=("--bind", "-b"),
        metavar="ADDRESS",
    )
    uds: str | None = opt(
        None, "Listen on a UNIX socket at this path.", group="Listening", flags=("--uds", "-u"), metavar="PATH"
    )
    uds_mode: int = opt(0o660, "Mode of UNIX sockets, in octal.", group="Listening", flags=("--uds-mode",), octal=True)
    fd: int | None = opt(
        None, "Listen on this inherited file descriptor.", group="Listening", flags=("--fd",), metavar="N"
    )
    reuse_port: bool = opt(
        False,
        "Let other processes listen on the same TCP port; the kernel shares out connections. SO_REUSEPORT, socket(7).",
        group="Listening",
        flags=("--reuse-port",),
    )
    backlog_count: int = opt(
        2048,
        "Connections the kernel keeps waiting. Uvicorn: 2048.",
        group="Listening",
        flags=("--backlog",),
        minimum=1,
    )

    tls: TLSConfig = opt(TLSConfig(), "TLS of all listeners.", group="TLS", nested="ssl")

    proxy: ProxyConfig = opt(ProxyConfig(), "Trusted proxies.", group="Proxies", nested="proxy")

    workers: int = opt(
        1,
        "Number of worker processes; auto: one for each core that the server may use.",
        group="Process",
        flags=("--workers",),
        metavar="N",
        minimum=1,
        auto=cores_count,
    )
    preload: bool = opt(
        True,
        "Import the application once for all workers, in a process that they are forked from, where nothing that it "
        "opens is in the way.",
        group="Process",
        flags=("--preload",),
    )
    worker_startup_timeout_s: float = opt(
        60.0,
        "A worker must be ready within this: the application imported, its lifespan startup answered.",
        group="Process",
        flags=("--timeout-worker-startup",),
    )
    watchdog_warn_s: float = opt(
        5.0,
        "With several workers: an event loop that does not run for so long is told in the log, with the stacks of its "
        "tasks and threads. 0: not.",
        group="Process",
    )
    watchdog_timeout_s: float = opt(
        30.0,
        "With several workers: one whose event loop does not run for so long is replaced. 0: never. gunicorn: 30. "
        "Where there is one alone, /healthz answers 503 from then on.",
        group="Process",
    )
    loop: str = opt(
        "auto",
        "Event loop; auto is uvloop where it is installed.",
        group="Process",
        flags=("--loop",),
        choices=("auto", "asyncio", "uvloop"),
    )
    graceful_timeout_s: float = opt(
        30.0,
        "Time for requests and sockets to end when the server stops.",
        group="Process",
        flags=("--timeout-graceful-shutdown",),
    )
    drain_grace_s: float = opt(
        1.0,
        "When the server stops, new connections are taken for so long, and one without a request may begin a last one "
        "within this; its response says Connection: close.",
        group="Process",
    )

    metrics_port: int | None = opt(
        None,
        "Answer /healthz, /readyz and /metrics (for Prometheus; needs the extra metrics) on a port of their own, for "
        "all workers; 0 takes a free one. Without it nothing is counted.",
        group="Health and metrics",
        flags=("--metrics-port",),
        metavar="PORT",
        maximum=65_535,
    )
    metrics_host: str = opt(
        "127.0.0.1",
        "Address of that port. It tells of the site, and asks nobody for a password.",
        group="Health and metrics",
        flags=("--metrics-host",),
        metavar="HOST",
    )

    reload: bool = opt(
        False,
        "For development: workers are replaced when a source file changes. Needs the extra reload.",
        group="Development",
        flags=("--reload",),
    )
    reload_dirs: tuple[str, ...] = opt(
        (),
        "Directories to watch, with what is below them. Without: the current one, and that of --app-dir.",
        group="Development",
        flags=("--reload-dir",),
        metavar="DIR",
    )
    reload_includes: tuple[str, ...] = opt(
        (),
        "Files that count, as patterns of names or of paths below a watched directory, beside *.py.",
        group="Development",
        flags=("--reload-include",),
        metavar="PATTERN",
    )
    reload_excludes: tuple[str, ...] = opt(
        (),
        "Files and directories that do not count, as such patterns, beside hidden ones, __pycache__ and node_modules.",
        group="Development",
        flags=("--reload-exclude",),
        metavar="PATTERN",
    )

    health_paths: tuple[str, ...] = opt(
        (),
        "Paths of the site where the server itself answers health checks (GET, HEAD and OPTIONS; of / OPTIONS alone, "
        "as HAProxy sends): for any Host, and without an access line.",
        group="Health and metrics",
        flags=("--health-path",),
        metavar="PATHS",
    )

    log_level: str = opt("info", "How much is logged.", group="Logs", flags=("--log-level",), choices=LOG_LEVELS)
    log_format: str = opt(
        "text",
        "Lines for people, or JSON objects.",
        group="Logs",
        flags=("--log-format",),
        choices=("text", "json"),
    )
    log_config: str | None = opt(
        None,
        "A dictionary for logging.config.dictConfig, as JSON or TOML, instead. Loggers: fullduplex.server, "
        "fullduplex.access.",
        group="Logs",
        flags=("--log-config",),
        metavar="FILE",
    )
    request_id: bool = opt(
        False,
        "Name each request, in access lines and for the application: by X-Request-ID of a trusted proxy, else anew.",
        group="Logs",
        flags=("--request-id",),
    )
    access_log: bool = opt(True, "Log a line per request.", group="Logs", flags=("--access-log",))

    server_header: bool = opt(True, "Send the Server field.", group="Responses", flags=("--server-header",))

    http1: HTTP1Limits = opt(HTTP1Limits(), "Limits of HTTP/1.1.", group="HTTP/1.1", nested="http1")
    speak_http2: bool = opt(
        True,
        "Speak HTTP/2, too: over TLS by ALPN, and without it as --h2c says.",
        group="HTTP/2",
        flags=("--http2",),
    )
    h2c: str = opt(
        "local",
        "HTTP/2 without TLS, by clients that begin with it: on loopback and UNIX sockets, everywhere, or nowhere.",
        group="HTTP/2",
        flags=("--h2c",),
        choices=("local", "on", "off"),
    )
    h2c_upgrade: bool = opt(
        False,
        "The same for clients that begin with HTTP/1.1 and Upgrade: h2c, which RFC 9113 has dropped. A proxy that "
        "passes this field on would let its clients pass by its rules.",
        group="HTTP/2",
        flags=("--h2c-upgrade",),
    )
    http2_library: str = opt(
        "auto",
        "What frames HTTP/2; auto is ngh2 where it is installed.",
        group="HTTP/2",
        flags=("--http2-library",),
        choices=("auto", "ngh2", "h2"),
    )
    http2: HTTP2Limits = opt(HTTP2Limits(), "Limits of HTTP/2.", group="HTTP/2", nested="http2")
    websocket: WebSocketLimits = opt(WebSocketLimits(), "Limits of WebSocket.", group="WebSocket", nested="ws")
    connection: ConnectionLimits = opt(
        ConnectionLimits(), "Limits of each connection.", group="Connections", nested="connection"
    )
    recycle: RecycleLimits = opt(
        RecycleLimits(), "When workers are replaced.", group="Replacing workers", nested="recycle"
    )
    load: LoadLimits = opt(LoadLimits(), "Limits of all of them together.", group="Connections", nested="load")
