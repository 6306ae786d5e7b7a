"""Run the test suites of others against ``fullduplex.channels``: that of Channels, and of a package built on it.

::

    python -m tests.channels.run SUITE [--source PATH] [--original | --alias] [pytest options]

Fetches a release, changes ``channels`` to ``fullduplex.channels`` in a copy of the package and of its tests, and runs
them there, in a process of their own. Nothing of it is kept in this repository. What is expected to differ
stands in ``docs/topics/channels-differences.md`` and ``docs/reference/layers.md``.

The suite ``channels_redis`` says where its servers are: Redis at port 6379 of this machine and a Sentinel at 26379,
which must be free. ``channels-sample-project`` drives a browser: it needs Chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.layers.servers import Sentinel, Server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Suite:
    """The tests of one release.

    Attributes:
        directory: what its archive unpacks to.
        url: of the archive; empty: the sdist on PyPI.
        packages: pinned, installed aside with their imports changed.
        requirements: installed aside as they are.
        options: of pytest.
        servers: those of channels_redis run meanwhile.
    """

    directory: str
    url: str = ""
    packages: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ("pytest-asyncio==1.4.0", "async-timeout==5.0.1")
    options: tuple[str, ...] = ()
    servers: bool = False


_CHANNELS = "https://github.com/django/channels/archive/refs/tags/4.3.2.tar.gz"  # its sdist has no tests

SUITES = {
    "channels": Suite("channels-4.3.2", url=_CHANNELS, options=("--ignore=tests/sample_project",)),
    "channels-sample-project": Suite(
        "channels-4.3.2",
        url=_CHANNELS,
        requirements=(
            *("pytest-asyncio==1.4.0", "selenium==4.51.0", "trio==0.35.0", "trio-websocket==0.12.2"),
            *("websocket-client==1.9.2", "outcome==1.3.0.post0", "sortedcontainers==2.4.0", "PySocks==1.7.1"),
            *("attrs==26.1.0", "sniffio==1.3.1", "urllib3==2.8.0", "wsproto==1.3.2"),
        ),
        options=("tests/sample_project",),
    ),
    "channels_redis": Suite(
        "channels_redis-4.3.0",
        requirements=("pytest-asyncio==1.4.0", "async-timeout==5.0.1"),
        servers=True,
    ),
    "djangochannelsrestframework": Suite(
        "djangochannelsrestframework-1.3.0",
        packages=("djangochannelsrestframework==1.3.0",),
        requirements=("pytest-asyncio==1.4.0", "djangorestframework==3.16.1"),
    ),
}

# A module of Channels, in an import or as a dotted path in a string; and the app in INSTALLED_APPS.
_IMPORTS = (
    (re.compile(r"^(\s*)from channels_redis\b", re.MULTILINE), r"\1from fullduplex.channels.redis"),
    (re.compile(r"^(\s*)from channels\b", re.MULTILINE), r"\1from fullduplex.channels"),
    (re.compile(r"^(\s*)import channels\b", re.MULTILINE), r"\1import fullduplex.channels as channels"),
    (re.compile(r"""(["'])channels\.(?=[a-z])"""), r"\1fullduplex.channels."),
    (re.compile(r"""^(\s*)(["'])channels\2,$""", re.MULTILINE), r"\1\2fullduplex\2,\n\1\2fullduplex.channels\2,"),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the test suite of others against fullduplex.channels.")
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--source", type=Path, help="a release, packed or unpacked, instead of fetching it")
    parser.add_argument("--original", action="store_true", help="change nothing: how it does with Channels itself")
    parser.add_argument("--alias", action="store_true", help="change nothing: with FULLDUPLEX['CHANNELS_ALIAS']")
    options, pytest_options = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory(prefix="channels-suite-") as directory:
        return prepare_and_run(SUITES[options.suite], options, Path(directory), pytest_options)


def prepare_and_run(suite: Suite, options: argparse.Namespace, work: Path, pytest_options: list[str]) -> int:
    source = find_release(suite, options.source, work)
    place, site = work / "suite", work / "site"
    shutil.copytree(source / "tests", place / "tests")
    ours = HERE / "suites" / options.suite
    if ours.is_dir():
        shutil.copytree(ours, place / "tests", dirs_exist_ok=True)
    install(site, suite.packages)
    if not (options.original or options.alias):
        for file in [*place.rglob("*.py"), *site.rglob("*.py")]:
            file.write_text(map_imports(file.read_text()))
    install(site, suite.requirements)
    (place / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    with servers(work) if suite.servers else contextlib.nullcontext():
        return run(place, site, [*suite.options, *pytest_options], "yes" if options.alias else "")


def find_release(suite: Suite, source: Path | None, work: Path) -> Path:
    """Return the directory of the release, unpacked where that is needed."""
    if source is not None and source.is_dir():
        return source
    with tarfile.open(source or fetch(suite, work)) as opened:
        opened.extractall(work, filter="data")
    return work / suite.directory


def fetch(suite: Suite, work: Path) -> Path:
    """Download the release; return its archive."""
    archive = work / f"{suite.directory}.tar.gz"
    if suite.url:
        with urllib.request.urlopen(suite.url, timeout=60) as response:
            archive.write_bytes(response.read())
    else:
        name = suite.directory.rpartition("-")
        command = ["download", "--no-deps", "--no-binary", ":all:", "--dest", str(work), f"{name[0]}=={name[2]}"]
        pip(*command)
    return archive


@contextlib.contextmanager
def servers(work: Path) -> Iterator[None]:
    """Redis and a Sentinel, where the tests of channels_redis look for them."""
    master = Server(work / "redis", port=6379)
    sentinel = Sentinel(work / "sentinel", master, name="sentinel", password="channels_redis", port=26379)
    try:
        master.start()
        sentinel.start()
        yield
    finally:
        sentinel.kill()
        master.kill()


def map_imports(text: str) -> str:
    for pattern, replacement in _IMPORTS:
        text = pattern.sub(replacement, text)
    return text


def install(site: Path, requirements: tuple[str, ...]) -> None:
    """Install what the suite needs and we do not, out of the way."""
    if requirements:
        pip("install", "--no-deps", "--target", str(site), *requirements)


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--quiet", *arguments], check=True)


def run(place: Path, site: Path, pytest_options: list[str], alias: str) -> int:
    path = os.pathsep.join(map(str, (ROOT / "src", place, site)))
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "CHANNELS_ALIAS": alias,
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_django.plugin", "-p", "pytest_asyncio.plugin", *pytest_options]
    return subprocess.run(command, cwd=place, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
