"""The configuration of a server: one frozen dataclass that documents itself."""

from __future__ import annotations

from dataclasses import dataclass

from fullduplex.limits import ConnectionLimits, HTTP1Limits, WebSocketLimits, opt

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What a server is told. Command line flags are generated from the fields' metadata."""

    app: str = opt("", "The ASGI application: module:attribute.")
    host: str = opt("127.0.0.1", "Address to listen on.", flags=("--host", "-b", "--bind"))
    port: int = opt(8000, "Port to listen on; 0 takes a free one.", flags=("--port", "-p"))
    uds: str | None = opt(None, "Listen on a UNIX socket at this path instead.", flags=("--uds", "-u"), metavar="PATH")
    uds_mode: int = opt(0o660, "Mode of the UNIX socket, in octal.", flags=("--uds-mode",), octal=True)
    fd: int | None = opt(None, "Listen on this inherited file descriptor instead.", flags=("--fd",), metavar="N")
    app_dir: str = opt("", "Look for the application in this directory, too.", flags=("--app-dir",), metavar="DIR")
    workers: int = opt(1, "Number of worker processes.", flags=("--workers",), metavar="N")
    log_level: str = opt("info", "How much is logged.", flags=("--log-level",), choices=LOG_LEVELS)
    access_log: bool = opt(True, "Log a line per request.", flags=("--access-log",), negatable=True)
    server_header: bool = opt(True, "Send the Server field.", flags=("--server-header",), negatable=True)
    lifespan: str = opt("auto", "Speak the lifespan protocol.", flags=("--lifespan",), choices=("auto", "on", "off"))
    loop: str = opt(
        "auto",
        "Event loop; auto is uvloop where it is installed.",
        flags=("--loop",),
        choices=("auto", "asyncio", "uvloop"),
    )
    backlog_count: int = opt(
        2048, "Connections the kernel keeps waiting. Uvicorn: 2048.", flags=("--backlog",), metavar="N"
    )
    startup_timeout_s: float = opt(
        60.0, "The application's lifespan startup must answer within this.", flags=("--timeout-startup",), metavar="S"
    )
    graceful_timeout_s: float = opt(
        10.0,
        "Time for requests and sockets to end when the server stops.",
        flags=("--timeout-graceful-shutdown",),
        metavar="S",
    )
    http1: HTTP1Limits = opt(HTTP1Limits(), "Limits of HTTP/1.1.", nested=True)
    websocket: WebSocketLimits = opt(WebSocketLimits(), "Limits of WebSocket.", nested=True)
    connection: ConnectionLimits = opt(ConnectionLimits(), "Limits of each connection.", nested=True)
