"""Run Django's own tests with our handler in the place of Django's, and compare with a run without.

    python tests/django/run.py [label …]

Downloads the sdist of the installed Django (``pip download``), for its ``tests`` directory. A test that gives another
result under our handler and is not listed in ``DIFFERENCES`` is a failure; so is a listed one that
gives the same.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

LABELS = """
handlers asgi async middleware middleware_exceptions sessions_tests csrf_tests messages_tests signals transactions
requests_tests test_client urlpatterns_reverse file_uploads servers staticfiles_tests view_tests
""".split()  # noqa: SIM905

# Tests that hold Django to what we do otherwise on purpose; docs/topics/differences.md says why.
DIFFERENCES: dict[str, str] = {
    "asgi.tests.ASGITest.test_assert_in_listen_for_disconnect": "a request that is over at once is not watched",
    "asgi.tests.ASGITest.test_disconnect_with_body": "a request that is over at once is not watched",
    "asgi.tests.ASGITest.test_wrong_connection_type": "WebSocket and lifespan are served; the message says so",
}

_TIMEOUT_S = 1_200
_RESULT = re.compile(
    r"^(\S+) \(([\w.]+)\).*?\.\.\. (ok|FAIL|ERROR|skipped|expected failure|unexpected success)", re.M | re.S
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", nargs="*", default=LABELS)
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "fullduplex-django", type=Path)
    options = parser.parse_args()
    tests = _source(options.cache) / "tests"
    print(f"Django {django.get_version()}, Python {sys.version.split()[0]}")
    theirs = _run(tests, options.labels, ours=False)
    ours = _run(tests, options.labels, ours=True)
    return _compare(theirs, ours)


def _source(cache: Path) -> Path:
    """Return the unpacked sdist of the installed Django."""
    version = django.get_version()
    target = cache / f"django-{version}"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "django", "--dest", str(cache)]
        subprocess.run([*command, "--no-build-isolation", f"django=={version}"], check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(cache / f"django-{version}.tar.gz") as archive:
            archive.extractall(cache, filter="data")
    return target


def _run(tests: Path, labels: list[str], ours: bool) -> dict[str, str]:
    """Run the labels and return the result of each test."""
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1] / "src"), str(tests)]),
        "FULLDUPLEX_HANDLER": "1" if ours else "",
    }
    command = [
        sys.executable,
        "-Wignore",
        str(here / "runtests.py"),
        "--verbosity=2",
        "--parallel=1",
        "--noinput",
        *labels,
    ]
    process = subprocess.run(command, cwd=tests, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S)
    results = {f"{match[2]}": match[3] for match in _RESULT.finditer(process.stderr)}
    if not results:
        raise SystemExit(process.stdout + process.stderr)
    counts = {result: list(results.values()).count(result) for result in sorted(set(results.values()))}
    print("our handler:     " if ours else "Django's handler:", counts)
    return results


def _compare(theirs: dict[str, str], ours: dict[str, str]) -> int:
    other = {test for test in theirs.keys() | ours.keys() if theirs.get(test) != ours.get(test)}
    for test in sorted(other):
        reason = DIFFERENCES.get(test, "NOT KNOWN")
        print(f"{test}: {theirs.get(test)} with Django's, {ours.get(test)} with ours: {reason}")
    stale = DIFFERENCES.keys() & theirs.keys() - other
    for test in sorted(stale):
        print(f"{test}: listed as a difference, and is none")
    return 1 if other - DIFFERENCES.keys() or stale else 0


if __name__ == "__main__":
    sys.exit(main())
