"""Does for two units what systemd does: opens the socket, starts the service, and stops it. Run in the box.

``python activate.py mysite.socket mysite.service COMMAND...`` runs the command while the service is active; then the
service is reloaded, restarted and stopped, and the command runs after each of the first two.
"""

from __future__ import annotations

import configparser
import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 60.0
FIRST_FD = 3


def read(path: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(Path(path).read_text())
    return unit


def listen(unit: configparser.ConfigParser) -> socket.socket:
    options = unit["Socket"]
    path = Path(options["ListenStream"])
    path.parent.mkdir(exist_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    path.chmod(int(options["SocketMode"], 8))
    os.chown(path, pwd.getpwnam(options["SocketUser"]).pw_uid, 0)
    sock.listen(4096)
    if sock.fileno() != FIRST_FD:
        os.dup2(sock.fileno(), FIRST_FD)
    return sock


class Service:
    """Between ``systemctl start`` and ``stop``."""

    def __init__(self, unit: configparser.ConfigParser, sock: socket.socket) -> None:
        self._options = unit["Service"]
        self._sock = sock  # kept open from start to start
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind("/run/notify")
        os.chmod("/run/notify", 0o777)
        self._notify.settimeout(TIMEOUT_S)

    def start(self) -> None:
        options = self._options
        user = pwd.getpwnam(options["User"])
        given = dict(line.split("=", 1) for line in Path(options["EnvironmentFile"]).read_text().splitlines())
        watchdog = {"WATCHDOG_USEC": f"{int(options['WatchdogSec']) * 1_000_000}"}
        env = {"PATH": os.environ["PATH"], "HOME": user.pw_dir, "NOTIFY_SOCKET": "/run/notify", **given, **watchdog}

        # LISTEN_PID is the process's own, which nobody knows before it is there.
        command = ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *options["ExecStart"].split()]
        self._process = subprocess.Popen(
            command,
            cwd=options["WorkingDirectory"],
            env=env,
            pass_fds=(FIRST_FD,),
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            start_new_session=True,
        )
        assert options["Type"] == "notify"
        self.wait_for("READY=1")

    def reload(self) -> None:
        subprocess.run(
            ["sh", "-c", self._options["ExecReload"].replace("$MAINPID", str(self._process.pid))], check=True
        )
        self.wait_for("RELOADING=1")
        self.wait_for("READY=1")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(int(self._options["TimeoutStopSec"])) == 0

    def wait_for(self, line: str) -> None:
        while line not in self._notify.recv(4096).decode().splitlines():
            pass


def main(socket_unit: str, service_unit: str, *command: str) -> None:
    service = Service(read(service_unit), listen(read(socket_unit)))
    service.start()
    subprocess.run(command, check=True)
    service.reload()
    subprocess.run(command, check=True)
    service.stop()
    service.start()
    subprocess.run(command, check=True)
    service.stop()


main(*sys.argv[1:])
