"""Run the test suite of Channels itself against ``fullduplex.channels``.

::

    python -m tests.channels.run [--source DIRECTORY] [pytest options]

Fetches the source of a release of Channels (its sdist on PyPI has no tests), changes ``channels`` to
``fullduplex.channels`` in a copy of its tests, and runs them there, in a process of their own. Nothing of it is kept in
this repository. What is expected to fail stands in ``docs/topics/channels-differences.md``.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

VERSION = "4.3.2"
ARCHIVE = f"https://github.com/django/channels/archive/refs/tags/{VERSION}.tar.gz"
REQUIREMENTS = ("pytest-asyncio>=1.2", "async-timeout>=5")
ROOT = Path(__file__).resolve().parents[2]

# A module of Channels, in an import or as a dotted path in a string; not the label of the app in INSTALLED_APPS.
_IMPORTS = (
    (re.compile(r"^(\s*)from channels\b", re.MULTILINE), r"\1from fullduplex.channels"),
    (re.compile(r"^(\s*)import channels\b", re.MULTILINE), r"\1import fullduplex.channels as channels"),
    (re.compile(r"""(["'])channels\.(?=[a-z])"""), r"\1fullduplex.channels."),
    (re.compile(r"""^(\s*)(["'])channels\2,$""", re.MULTILINE), r"\1\2fullduplex\2,\n\1\2fullduplex.channels\2,"),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the tests of Channels against fullduplex.channels.")
    parser.add_argument("--source", type=Path, help=f"a checkout of Channels, instead of {ARCHIVE}")
    options, pytest_options = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory(prefix="channels-suite-") as directory:
        work = Path(directory)
        source = options.source or fetch(work)
        suite = work / "suite"
        suite.mkdir()
        shutil.copytree(source / "tests", suite / "tests")
        for file in suite.rglob("*.py"):
            file.write_text(map_imports(file.read_text()))
        (suite / "pytest.ini").write_text(
            "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        )
        return run(suite, install(work), pytest_options)


def fetch(work: Path) -> Path:
    """Download and unpack the release; return its directory."""
    with urllib.request.urlopen(ARCHIVE, timeout=60) as response:
        content = response.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(work, filter="data")
    return work / f"channels-{VERSION}"


def map_imports(text: str) -> str:
    for pattern, replacement in _IMPORTS:
        text = pattern.sub(replacement, text)
    return text


def install(work: Path) -> Path:
    """Install what the suite needs and we do not, out of the way."""
    site = work / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), *REQUIREMENTS]
    subprocess.run(command, check=True)
    return site


def run(suite: Path, site: Path, pytest_options: list[str]) -> int:
    path = os.pathsep.join(map(str, (ROOT / "src", suite, site)))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    # tests/sample_project drives a browser by Selenium; ours does so in tests/e2e.
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "--ignore=tests/sample_project", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_django.plugin", "-p", "pytest_asyncio.plugin"]
    return subprocess.run([*command, *pytest_options], cwd=suite, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
