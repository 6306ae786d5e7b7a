"""Finding the sequencer, and starting one.

Who subscribes and finds none starts it: who gets the lock listens, and hands both to a process that is the sequencer
from then on. It is nobody's child, so that whoever has started it may end. Who publishes starts none: without one
nobody is subscribed, and a shell's would be a stranger in the service.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from pathlib import Path

from fullduplex.exceptions import ConfigurationError, LayerUnavailable
from fullduplex.layers.local.place import Place, release

logger = logging.getLogger("fullduplex.layers")

RETRY_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # a sequencer that begins, or ends, does so within milliseconds
START_TIMEOUT_S = 10.0
RETURN_S = 1.0  # members of a sequencer that was killed have another one by then, or there are none

_CODE = (
    "import sys; sys.path.append({path!r}); from fullduplex.sequencer.process import main; main({fd}, {place!r}, {own})"
)
_PACKAGES = str(Path(__file__).parents[3])


def connect(place: Place, timeout_s: float) -> socket.socket:
    """Connect to the sequencer of this place; start it where there is none.

    Raises:
        LayerUnavailable: neither could be done in time.
        ConfigurationError: the directory cannot be used.
    """
    end_s = time.monotonic() + timeout_s
    attempt = 0
    while True:
        sock = place.connect()
        if sock is None and _start(place):
            sock = place.connect()
        if sock is not None:
            return sock
        if time.monotonic() > end_s:
            raise LayerUnavailable(f"the local layer finds no sequencer in {place.path}, and could not start one")
        time.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        attempt += 1


def find(place: Place, timeout_s: float) -> socket.socket | None:
    """Connect to the sequencer; None where there is none, so that nobody is subscribed to anything.

    Raises:
        LayerUnavailable: it does not answer in time.
        ConfigurationError: the directory belongs to somebody else, or others may enter it.
    """
    began_s = time.monotonic()
    attempt = 0
    while True:
        sock = place.connect()
        if sock is not None or not place.was_listened_at:
            return sock
        waited_s = time.monotonic() - began_s
        if waited_s > RETURN_S and place.clear():
            return None
        if waited_s > timeout_s:
            raise LayerUnavailable(f"the sequencer of the local layer in {place.path} does not answer")
        time.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        attempt += 1


def _start(place: Place) -> bool:
    """Start the sequencer, unless somebody is about to, or it is there."""
    place.make()
    try:
        try:
            lock = place.lock()
        except FileNotFoundError:  # the last one who was there has just removed the directory
            lock = None
        if lock is None:
            return False
        try:
            with place.listen() as listener:
                _spawn(listener.fileno(), lock, place)
        finally:
            release(lock)
    except (OSError, subprocess.SubprocessError) as error:
        raise LayerUnavailable(f"the sequencer of the local layer cannot be started: {error}") from error
    return True


def _spawn(listener: int, lock: int, place: Place) -> None:
    """Start the process; it inherits the lock with the descriptor."""
    if not sys.executable:
        raise ConfigurationError("The local layer needs an interpreter for its sequencer, and sys.executable is empty.")
    # Nothing but the standard library and this package: no site, no variables of the environment.
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        _CODE.format(path=_PACKAGES, fd=listener, place=str(place.path), own=place.is_own),
    ]
    process = subprocess.Popen(
        command,
        stdin=lock,
        stdout=subprocess.DEVNULL,
        pass_fds=(listener,),
        start_new_session=True,  # what a terminal sends to the group is not for it
    )
    try:
        status = process.wait(START_TIMEOUT_S)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if status:
        raise LayerUnavailable(f"the sequencer of the local layer ended with status {status} as it started")
