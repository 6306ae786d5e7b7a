"""Public packages built on Channels, pinned in ``pyproject.toml``, moved by ``fullduplex.migrate`` and nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fullduplex.migrate.python import change_python
from tests.channels.run import ROOT

pytestmark = pytest.mark.e2e

PACKAGES = ("channelsmultiplexer", "django_private_chat2", "djangochannelsrestframework", "strawberry")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("packages")
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, directory / name)
    for file in directory.rglob("*.py"):
        file.write_text(change_python(file.read_text()).result())
    path = os.pathsep.join(map(str, (directory, ROOT / "src")))
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "channels" / "packages.py")],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_channels_itself_is_not_there(result: Any) -> None:
    assert result["original"] is False


def test_djangochannelsrestframework(result: Any) -> None:
    assert result["subscribed"] == 201
    assert result["created"] == {"id": 1, "name": "editors"}
    assert result["news"] == {"news": "create", "name": "editors"}
    assert result["list"] == [{"id": 1, "name": "editors"}]


def test_channelsmultiplexer(result: Any) -> None:
    assert result["upper"] == {"stream": "upper", "payload": "HELLO"}
    assert result["reverse"] == {"stream": "reverse", "payload": "olleh"}


def test_django_private_chat2(result: Any) -> None:
    chat = result["chat"]
    assert chat["stranger"] == [False, 4001]
    received, stored, unread, read = chat["grace"]
    assert (received["text"], received["sender_username"], received["random_id"]) == ("hello", "ada", -1)
    assert (stored["random_id"], unread["unread_count"], read["unread_count"]) == (-1, 1, 0)
    assert chat["ada"][0] == stored
    assert chat["ada"][1]["message_id"] == stored["db_id"]


def test_strawberry(result: Any) -> None:
    assert result["graphql"] == ["listening", True, "it works"]
