"""Run Django's own tests with our handler in the place of Django's, and compare with a run without.

    python tests/django/run.py [label …]

Downloads the sdist of the installed Django (``pip download``), for its ``tests`` directory. A test that gives another
result under our handler and is not listed in ``DIFFERENCES`` is a failure; so is a listed one that
gives the same. Before it counts it is run again: some of Django's tests wait for fractions of a second, and fail
now and then on a busy machine, whosever handler it is.
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
_NOT_WATCHED = "a request that is over at once is not watched; on a busy machine it may take long enough"
DIFFERENCES: dict[str, str] = {
    "asgi.tests.ASGITest.test_assert_in_listen_for_disconnect": _NOT_WATCHED,
    "asgi.tests.ASGITest.test_disconnect_with_body": _NOT_WATCHED,
    "asgi.tests.ASGITest.test_wrong_connection_type": "WebSocket and lifespan are served; the message says so",
}

_DOWNLOAD_TIMEOUT_S = 120
_RUNS_COUNT = 4
_RESULT = re.compile(
    r"^(\S+) \(([\w.]+)\).*?\.\.\. (ok|FAIL|ERROR|skipped|expected failure|unexpected success)", re.M | re.S
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", nargs="*", default=LABELS)
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "fullduplex-django", type=Path)
    parser.add_argument("--timeout-s", default=1_200.0, type=float, help="for each of the two runs")
    options = parser.parse_args()
    tests = _source(options.cache) / "tests"
    print(f"Django {django.get_version()}, Python {sys.version.split()[0]}")
    theirs: dict[str, str] = {}
    ours: dict[str, str] = {}
    labels = options.labels
    for _ in range(_RUNS_COUNT):
        theirs |= _run(tests, labels, options.timeout_s, ours=False)
        ours |= _run(tests, labels, options.timeout_s, ours=True)
        labels = sorted(_surprises(theirs, ours))
        if not labels:
            break
        print("Surprising:", *labels)
    return _compare(theirs, ours)


def _source(cache: Path) -> Path:
    """Return the unpacked sdist of the installed Django, downloaded unless ``cache`` has it."""
    name = f"django-{django.get_version()}"
    target = cache / name
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as fresh:
        _download(Path(fresh))
        with tarfile.open(Path(fresh) / f"{name}.tar.gz") as archive:
            archive.extractall(fresh, filter="data")
        try:
            (Path(fresh) / name).rename(target)
        except OSError:  # another run was faster
            if not target.exists():
                raise
    return target


def _download(directory: Path) -> None:
    version = django.get_version()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "django", "--dest", str(directory)]
    command += ["--retries", "1", "--disable-pip-version-check", f"django=={version}"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S)
        problem = process.stderr if process.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"no end within {_DOWNLOAD_TIMEOUT_S} s"
    if problem:
        raise SystemExit(
            f"Django's own tests come with the sdist of Django {version}, and pip could not download it: "
            f"is PyPI, or the index that pip is configured for, within reach?\n{problem}"
        )


def _run(tests: Path, labels: list[str], timeout_s: float, ours: bool) -> dict[str, str]:
    """Run the labels and return the result of each test."""
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1] / "src"), str(tests)]),
        "FULLDUPLEX_HANDLER": "1" if ours else "",
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)  # of the tests that start this
    command = [
        sys.executable,
        "-Wignore",
        str(here / "runtests.py"),
        "--verbosity=2",
        "--parallel=1",
        "--noinput",
        *labels,
    ]
    process = subprocess.run(command, cwd=tests, env=environment, capture_output=True, text=True, timeout=timeout_s)
    results = {f"{match[2]}": match[3] for match in _RESULT.finditer(process.stderr)}
    if not results:
        raise SystemExit(process.stdout + process.stderr)
    counts = {result: list(results.values()).count(result) for result in sorted(set(results.values()))}
    print("our handler:     " if ours else "Django's handler:", counts)
    return results


def _differences(theirs: dict[str, str], ours: dict[str, str]) -> set[str]:
    return {test for test in theirs.keys() | ours.keys() if theirs.get(test) != ours.get(test)}


def _surprises(theirs: dict[str, str], ours: dict[str, str]) -> set[str]:
    """Tests that differ and are not listed, or are listed and do not differ although they must."""
    other = _differences(theirs, ours)
    return other - DIFFERENCES.keys() | _stale(theirs, other)


def _stale(theirs: dict[str, str], other: set[str]) -> set[str]:
    return {test for test, reason in DIFFERENCES.items() if reason != _NOT_WATCHED and test in theirs} - other


def _compare(theirs: dict[str, str], ours: dict[str, str]) -> int:
    other = _differences(theirs, ours)
    for test in sorted(other):
        reason = DIFFERENCES.get(test, "NOT KNOWN")
        print(f"{test}: {theirs.get(test)} with Django's, {ours.get(test)} with ours: {reason}")
    for test in sorted(_stale(theirs, other)):
        print(f"{test}: listed as a difference, and is none")
    return 1 if _surprises(theirs, ours) else 0


if __name__ == "__main__":
    sys.exit(main())
