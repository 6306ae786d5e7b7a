"""Run Django's own tests of its ORM through the ``a...`` methods on the loop, and compare with Django's engine.

    python -m tests.db.django_suites [label …]

With Django's engine they run as they are. With ours each is on an event loop, see ``django_runtests``. A test that
gives another result there and is not listed in ``DIFFERENCES`` is a failure.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import django

from tests.django.run import _RESULT, _source
from tests.packages.postgresql import server

LABELS = """
async queries transactions select_for_update prefetch_related custom_managers
transaction_hooks many_to_one many_to_many get_or_create bulk_create delete
""".split()  # noqa: SIM905

_RUNS_A_LOOP = "calls asyncio.run() itself, and here it is on a loop already"
DIFFERENCES = {
    "async.tests.ViewTests.test_http_method_not_allowed_responds_correctly": _RUNS_A_LOOP,
    "async.tests.ViewTests.test_options_handler_responds_correctly": _RUNS_A_LOOP,
    "get_or_create.tests.UpdateOrCreateTransactionTests.test_creation_in_transaction": "replaces Person.save by one "
    "that waits for the test, and saves by the old one: here that is asave(), which calls the new one",
}

_TIMEOUT_S = 1_800
_ERRORS = re.compile(r"^(ERROR|FAIL): \w+ \(([\w.]+)\)", re.MULTILINE)  # those in subtests have no other line


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.db.django_suites")
    parser.add_argument("labels", nargs="*", default=LABELS)
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "fullduplex-django", type=Path)
    options = parser.parse_args()
    tests = _source(options.cache) / "tests"
    print(f"Django {django.get_version()}, Python {sys.version.split()[0]}", flush=True)
    with server(max_connections=100) as postgresql:
        theirs = run(tests, options.labels, postgresql.host, "django.db.backends.postgresql")
        ours = run(tests, options.labels, postgresql.host, "fullduplex.db.postgresql")
    other = {test for test in theirs.keys() | ours.keys() if theirs.get(test) != ours.get(test)}
    for test in sorted(other):
        reason = DIFFERENCES.get(test, "NOT KNOWN")
        print(f"{test}: {theirs.get(test)} with Django's, {ours.get(test)} with ours: {reason}")
    return 1 if other - DIFFERENCES.keys() else 0


def run(tests: Path, labels: list[str], host: str, engine: str) -> dict[str, str]:
    """Run the labels and return the result of each test."""
    root = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (root, root / "src", tests))),
        "ENGINE": engine,
        "POSTGRESQL": host,
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)  # of the tests that start this
    command = [sys.executable, "-Wignore", str(Path(__file__).with_name("django_runtests.py"))]
    command += ["--settings=tests.db.django_settings", "--verbosity=2", "--parallel=1", "--noinput", *labels]
    process = subprocess.run(command, cwd=tests, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S)
    results = {match[2]: match[3] for match in _RESULT.finditer(process.stderr)}
    results |= {match[2]: match[1] for match in _ERRORS.finditer(process.stderr)}
    if not results:
        raise SystemExit(process.stdout + process.stderr)
    print(f"{engine}: {dict(Counter(results.values()))}", *process.stdout.splitlines()[-1:], sep="\n", flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
