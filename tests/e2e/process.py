"""A server as a real process: its output kept, always ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

# Only ever reached by a hang: a busy machine may take its time.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
WAIT_TIMEOUT_S = 30.0
NOTED_COUNT = 20_000  # characters of the output, where a test fails
ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A child process in a process group of its own, as a terminal starts it.

    Args:
        command: program and arguments.
        ready: pattern of the line that says it serves; its first group, if any, is kept as :attr:`url`.
            Empty: nothing is waited for.
        cwd: its directory.
        env: variables to add.
    """

    def __init__(
        self,
        *command: str,
        ready: str = r"Listening on (\S+)",
        cwd: str | Path | None = None,
        env: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.command = command
        self._ready = ready
        self._cwd = cwd
        self._env = env
        self._pass_fds = pass_fds
        self._chunks: list[bytes] = []
        self._changed = threading.Condition()
        self.url = ""

    def __enter__(self) -> Process:
        self._process = subprocess.Popen(
            self.command,
            cwd=self._cwd,
            env=environment(self._env),
            pass_fds=self._pass_fds,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if self._ready:
            try:
                match = self.wait_for(re.compile(self._ready), START_TIMEOUT_S)
            except BaseException:
                self.kill()
                raise
            self.url = match.group(1) if match.groups() else ""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.end()
        finally:
            if error is not None:
                error.add_note(f"The output of {self.command!r}, at its end:\n{self.output[-NOTED_COUNT:]}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def output(self) -> str:
        with self._changed:
            return b"".join(self._chunks).decode(errors="replace")  # a character may be cut

    def wait_for(self, text: str | re.Pattern[str], timeout_s: float = WAIT_TIMEOUT_S, after: int = 0) -> re.Match[str]:
        """Wait for output, from the character ``after`` on, in which a text or a pattern is found."""
        pattern = re.compile(re.escape(text)) if isinstance(text, str) else text
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                ended = self._process.poll() is not None and not self._reader.is_alive()
                if match := pattern.search(self.output, after):
                    return match
                left_s = deadline_s - time.monotonic()
                if ended or left_s <= 0:
                    why = f"it ended with {self._process.returncode}" if ended else f"{timeout_s} s passed"
                    raise AssertionError(f"{why}, without {pattern.pattern!r} in:\n{self.output[-NOTED_COUNT:]}")
                self._changed.wait(min(left_s, 0.2))

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Ctrl-C: the terminal signals the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def type(self, text: str) -> None:
        """Type on its terminal."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the end; return the exit status."""
        status = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return status

    def end(self) -> None:
        """What leaving the context does."""
        self.stop()

    def stop(self) -> int:
        """Ask it to end, and return its exit status; a process that does not end in time is an error."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """End the whole group at once."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            while chunk := os.read(stdout.fileno(), 65_536):
                with self._changed:
                    self._chunks.append(chunk)
                    self._changed.notify_all()


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Ours without what pytest-django put there."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "FULLDUPLEX_"))}
    return {**inherited, "PYTHONUNBUFFERED": "1", "NO_PROXY": "*", **(extra or {})}


def fullduplex(app: str, *options: str, app_dir: Path | str = ROOT / "tests" / "e2e", **kwargs: object) -> Process:
    """Our command, serving ``app`` on a free port of loopback unless the options say otherwise."""
    place = () if {"--uds", "--fd", "--port", "--bind"} & set(options) else ("--port", "0")
    command = (sys.executable, "-m", "fullduplex", app, "--app-dir", str(app_dir), *place, *options)
    return Process(*command, **kwargs)  # type: ignore[arg-type]
