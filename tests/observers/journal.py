"""What observers record, a line of JSON each, in the file ``records`` of the site's folder."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

_lock = threading.Lock()


def write(record: dict[str, Any]) -> None:
    line = json.dumps(record, default=str)
    with _lock, path(Path(os.environ["FOLDER"])).open("a") as file:
        file.write(f"{line}\n")


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path(folder).read_text().splitlines()]


def path(folder: Path) -> Path:
    return folder / "records"
