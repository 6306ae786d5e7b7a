"""A server as a real process: started on a free port, its output kept, always ended."""

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

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A child process whose lines are read as they come.

    Args:
        command: program and arguments.
        ready: pattern of the line that says it serves; its first group, if any, is kept as :attr:`url`.
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
        self._ready = re.compile(ready)
        self._options = {
            "cwd": cwd,
            "env": {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            "pass_fds": pass_fds,
        }
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self.url = ""

    def __enter__(self) -> Process:
        self._process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **self._options
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            match = self.wait_for_line(self._ready.pattern, START_TIMEOUT_S)
        except BaseException:
            self.kill()
            raise
        self.url = match.group(1) if match.groups() else ""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def wait_for_line(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait until a line of the output matches; fail with the output if none does."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                match = re.search(pattern, "".join(self._lines))
                if match:
                    return match
                left_s = deadline_s - time.monotonic()
                ended = self._process.poll() is not None and not self._reader.is_alive()
                if left_s <= 0 or ended:
                    raise AssertionError(f"no line like {pattern!r} in:\n{''.join(self._lines)}")
                self._changed.wait(min(left_s, 0.2))

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the end; return the exit status."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def stop(self) -> int:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()


def fullduplex(app: str, *options: str, app_dir: Path | str = ROOT / "tests" / "e2e", **kwargs: object) -> Process:
    """Our command, serving ``app`` on a free port of loopback unless the options say otherwise."""
    place = () if {"--uds", "--fd", "--port", "--bind"} & set(options) else ("--port", "0")
    command = (sys.executable, "-m", "fullduplex", app, "--app-dir", str(app_dir), *place, *options)
    return Process(*command, **kwargs)  # type: ignore[arg-type]
