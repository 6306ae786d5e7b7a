"""From the end of serving to the end of the process: in time, whatever the application has left behind."""

from __future__ import annotations

import logging
import os
import threading

from fullduplex.server.worker import Worker

logger = logging.getLogger("fullduplex.server")

EXIT_TIMEOUT_S = 2.0  # from the end of serving to the end of the process; all that was to be told has been told


def run_to_the_end(worker: Worker) -> int:
    """Run a worker, after which the process ends in time.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: it cannot start.
    """
    before = {*threading.enumerate()}
    exits: list[threading.Timer] = []
    try:
        worker.on_stopped = lambda status: exits.append(_exit_in_time(status))
        return worker.run()
    finally:
        if not any(not thread.daemon for thread in threading.enumerate() if thread not in before):
            for timer in exits:
                timer.cancel()


def _exit_in_time(status: int) -> threading.Timer:
    """See to it that the process ends, although Python waits for tasks that swallow their cancellation, and for threads
    that do not return, for ever.
    """

    def leave() -> None:
        logger.error("Something of the application does not end; the process ends without it")
        logging.shutdown()
        os._exit(status)

    timer = threading.Timer(EXIT_TIMEOUT_S, leave)
    timer.daemon = True
    timer.start()
    return timer
