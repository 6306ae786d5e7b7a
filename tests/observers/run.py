"""Run what packages test of themselves with our handler in the place of Django's, and compare with a run without.

::

    python -m tests.observers.run [--short] [name …]

Downloads the sdist of each package in its installed version (``pip download``), for its tests, and installs aside what
they need and we do not. A test that passes with Django's handler and not with ours is a failure.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Results = dict[tuple[str, str], str]

_TIMEOUT_S = 900  # for each process; the longest takes half a minute on a machine that has nothing else to do
_OF_PYTEST = re.compile(r"^(\S+::.+) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
_OF_DJANGO = re.compile(
    r"^\S+ \(([\w.]+)\).*?\.\.\. (ok|FAIL|ERROR|skipped|expected failure|unexpected success)", re.MULTILINE | re.DOTALL
)
_PASSED = {"PASSED", "ok"}


@dataclass(frozen=True)
class Suite:
    """The tests of a package.

    Attributes:
        distribution: its name on PyPI.
        labels: what to run, divided by spaces; each of the tuple in a process of its own.
        short: what stands for them where there is little time.
        requirements: what they need beside it.
        settings: the module; without one they configure the settings themselves.
        plugins: of pytest; None where Django's own runner runs them.
        differences: those that need not pass, and why.
    """

    distribution: str
    labels: tuple[str, ...]
    short: tuple[str, ...]
    requirements: tuple[str, ...]
    settings: str = ""
    plugins: tuple[str, ...] | None = ()
    differences: dict[str, str] = field(default_factory=dict)


_SENTRY = "tests/integrations/django/asgi/test_asgi.py"
SUITES = {
    "sentry": Suite(
        distribution="sentry-sdk",
        labels=("tests/integrations/django/asgi",),
        short=(f"{_SENTRY}::test_user_identity_error_event_data_collection {_SENTRY}::test_basic",),
        requirements=(
            *("pytest-asyncio==1.5.0", "pytest-localserver==0.10.0.post0", "werkzeug==3.1.9", "markupsafe==3.0.4"),
            *("jsonschema==4.26.0", "jsonschema-specifications==2025.9.1", "referencing==0.37.0"),
            *("rpds-py==2026.9.1", "attrs==26.1.0", "typing-extensions==4.16.0"),
        ),
        settings="tests.integrations.django.myapp.settings",
        plugins=("pytest_django.plugin", "pytest_asyncio.plugin", "pytest_localserver.plugin"),
    ),
    "toolbar": Suite(
        distribution="django-debug-toolbar",
        labels=("tests",),
        short=("tests.test_integration_async",),
        requirements=(
            *("html5lib==1.1", "six==1.17.0", "webencodings==0.6.1", "jinja2==3.1.6", "markupsafe==3.0.4"),
            *("django-csp==4.0", "django-template-partials==25.3"),
        ),
        settings="tests.settings",
        plugins=None,
    ),
    "opentelemetry": Suite(
        distribution="opentelemetry-instrumentation-django",
        # The settings of the first file are those of all; alone, that of ASGI has its own views, which are async.
        labels=("tests", "tests/test_middleware_asgi.py"),
        short=("tests/test_middleware_asgi.py",),
        requirements=("opentelemetry-test-utils==0.66b2",),
        differences={
            f"tests/test_middleware.py::TestMiddleware::test_wsgi_metrics{which}": "through WSGI, and it compares "
            "durations to a tenth of a second"
            for which in ("", "_new_semconv", "_both_semconv")
        },
    ),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SUITES), metavar="name", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--short", action="store_true", help="a few tests of each only")
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "fullduplex-suites", type=Path)
    options = parser.parse_args(arguments)
    return max(compare(name, options.cache, options.short) for name in options.names)


def compare(name: str, cache: Path, is_short: bool) -> int:
    suite = SUITES[name]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"{suite.distribution} {version(suite.distribution)}, Python {python}", flush=True)
    # Not named for the distribution: Sentry's tests take a warning for one about its own code by the path.
    source = cached(cache / f"{name}-{version(suite.distribution)}", lambda target: fetch(suite, target))
    site = cached(cache / f"{name}-{version(suite.distribution)}-site-{python}", lambda target: install(suite, target))
    labels = suite.short if is_short else suite.labels
    theirs: Results = {}
    ours: Results = {}
    for label in labels:
        theirs |= run(suite, label, source, site, ours=False)
        ours |= run(suite, label, source, site, ours=True)
    lost = sorted(test for test, result in theirs.items() if result in _PASSED and ours.get(test) not in _PASSED)
    for label, test in lost:
        reason = suite.differences.get(test, "NOT KNOWN")
        print(f"{test} of {label}: passes with Django's handler, {ours.get((label, test))} with ours: {reason}")
    return 1 if any(test not in suite.differences for _, test in lost) else 0


def cached(target: Path, make: Callable[[Path], None]) -> Path:
    """Return the directory, made unless it is there."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as fresh:
            make(Path(fresh) / "made")
            try:
                (Path(fresh) / "made").rename(target)
            except OSError:  # another run was faster
                if not target.exists():
                    raise
    return target


def fetch(suite: Suite, target: Path) -> None:
    """Unpack the sdist."""
    release = f"{suite.distribution}=={version(suite.distribution)}"
    pip("download", "--no-deps", "--no-binary", ":all:", "--dest", str(target.parent), release)
    (file,) = target.parent.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        archive.extractall(target.parent, filter="data")
    file.unlink()
    (unpacked,) = target.parent.iterdir()
    unpacked.rename(target)


def install(suite: Suite, target: Path) -> None:
    pip("install", "--no-deps", "--target", str(target), *suite.requirements)


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if process.returncode:
        raise SystemExit(f"pip has not got the tests of a package, or what they need:\n{process.stderr}")


def run(suite: Suite, label: str, source: Path, site: Path, ours: bool) -> Results:
    """Run the tests and return the result of each."""
    ours_path = (HERE, HERE.parent / "django") if ours else ()
    paths = (source, site, ROOT / "src", HERE / "patience", *ours_path)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": suite.settings,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    if not suite.settings:
        del environment["DJANGO_SETTINGS_MODULE"]
    process = subprocess.run(
        [sys.executable, "-m", *command(suite, label, ours)],
        cwd=source,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
    )
    pattern = _OF_DJANGO if suite.plugins is None else _OF_PYTEST
    results = {(label, match[1]): match[2] for match in pattern.finditer(process.stdout)}
    if not results:
        raise SystemExit(process.stdout)
    print("our handler:     " if ours else "Django's handler:", dict(Counter(results.values())), flush=True)
    return results


def command(suite: Suite, label: str, ours: bool) -> list[str]:
    if suite.plugins is None:
        return ["ours" if ours else "django", "test", "--verbosity=2", "--noinput", *label.split()]
    plugins = ["patience", *suite.plugins, *(["ours"] if ours else [])]
    options = ["-o", "addopts=", "-vv", "--tb=short", "-p", "no:cacheprovider"]
    return ["pytest", *options, *(part for plugin in plugins for part in ("-p", plugin)), *label.split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
