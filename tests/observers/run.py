"""Run the tests that sentry-sdk has for Django's ASGI handler with ours in its place, and compare with a run without.

::

    python -m tests.observers.run [pytest options]

Downloads the sdist of the installed sentry-sdk (``pip download``), for its tests, and installs aside what they need and
we do not. A test that passes with Django's handler and not with ours is a failure.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LABEL = "tests/integrations/django/asgi"
SETTINGS = "tests.integrations.django.myapp.settings"
REQUIREMENTS = (
    *("pytest-asyncio==1.5.0", "pytest-localserver==0.10.0.post0", "werkzeug==3.1.9", "markupsafe==3.0.4"),
    *("jsonschema==4.26.0", "jsonschema-specifications==2025.9.1", "referencing==0.37.0", "rpds-py==2026.9.1"),
    *("attrs==26.1.0", "typing-extensions==4.16.0"),
)
# What fails with our handler for another reason than what it records.
DIFFERENCES = {
    f"{LABEL}/test_asgi.py::test_basic[True-application0]": "a thread has kept the in-memory database of the tests "
    "before, and pytest-django forbids this one to look into it",
}

_RESULT = re.compile(r"^(\S+::.+) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
_TIMEOUT_S = 900


def main(pytest_options: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="sentry-suite-") as directory:
        work = Path(directory)
        source = fetch(work)
        pip("install", "--no-deps", "--target", str(work / "site"), *REQUIREMENTS)
        theirs = run(source, work / "site", pytest_options, ours=False)
        ours = run(source, work / "site", pytest_options, ours=True)
    lost = sorted(test for test, result in theirs.items() if result == "PASSED" != ours.get(test))
    lost = [test for test in lost if test not in DIFFERENCES]
    for test in lost:
        print(f"{test}: passes with Django's handler, {ours.get(test, 'is not run')} with ours")
    return 1 if lost else 0


def fetch(work: Path) -> Path:
    """Return the unpacked sdist."""
    release = f"sentry_sdk-{version('sentry-sdk')}"
    pip("download", "--no-deps", "--no-binary", ":all:", "--dest", str(work), release.replace("_sdk-", "-sdk=="))
    with tarfile.open(work / f"{release}.tar.gz") as archive:
        archive.extractall(work, filter="data")
    return work / release


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--quiet", *arguments], check=True)


def run(source: Path, site: Path, pytest_options: list[str], ours: bool) -> dict[str, str]:
    """Run the tests and return the result of each."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONPATH": os.pathsep.join(map(str, (source, site, ROOT / "src", HERE))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    plugins = [
        "pytest_django.plugin",
        "pytest_asyncio.plugin",
        "pytest_localserver.plugin",
        *(["ours"] if ours else []),
    ]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-vv", "--tb=short", "-p", "no:cacheprovider"]
    command += [part for plugin in plugins for part in ("-p", plugin)]
    process = subprocess.run(
        [*command, *pytest_options, LABEL],
        cwd=source,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
    )
    results = {match[1]: match[2] for match in _RESULT.finditer(process.stdout)}
    if not results:
        raise SystemExit(process.stdout)
    print("our handler:     " if ours else "Django's handler:", dict(Counter(results.values())))
    return results


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
