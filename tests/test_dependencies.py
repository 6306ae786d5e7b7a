"""No lower bound admits a version with a published flaw that a later one mends.

Advisories are data of a service, which tests do not ask; so what concerns the distributions that we need stands here.
``pip-audit`` asks the service: run it before a release, and put here what it finds.
"""

from __future__ import annotations

import contextlib
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

# The last version with the flaw and the first without, in each series; and where it is published.
ADVISORIES = [
    ("django", "5.2.18", "5.2.19", "CVE-2026-108147, -111211, -111362, -113593, -114582"),
    ("django", "6.0.9", "6.0.10", "the same, and CVE-2026-113733"),
    ("django", "6.1.2", "6.1.3", "the same"),
    ("django", "5.2.1", "5.2.19", "CVE-2025-48432: paths are logged as they came"),
    ("h2", "4.4.0", "4.4.1", "CVE-2026-71554: several Host fields"),
    ("hpack", "4.1.0", "4.2.0", "CVE-2026-59980: integers without end"),
    ("hiredis", "3.4.0", "3.4.1", "redis/hiredis#1340, #1341: nested replies, overflow"),
    ("httptools", "0.7.1", "0.9.0", "httptools 0.8.0: URLs are cut; llhttp 9.4.1"),
    ("httptools", "0.8.0", "0.9.0", "llhttp 9.4.3"),
    ("msgpack", "1.2.2", "1.2.3", "CVE-2026-114613: memory"),
    ("sqlparse", "0.6.0", "0.6.1", "CVE-2026-112307, GHSA-3r5h-5jcg-gmgg"),
    ("sqlparse", "0.5.5", "0.6.1", "CVE-2026-59893: quadratic time"),
    ("uvloop", "0.22.1", "0.23.0", "descriptors closed twice; libuv 1.52.1"),
]


def requirements() -> dict[str, Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    texts = [*PROJECT["dependencies"], *(text for group in extras for text in group)]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, texts)}


@pytest.mark.parametrize(("name", "affected", "mended", "source"), ADVISORIES)
def test_no_bound_admits_a_version_with_a_published_flaw(name: str, affected: str, mended: str, source: str) -> None:
    specifier = requirements()[name].specifier
    assert not specifier.contains(affected), source
    assert specifier.contains(mended)


@pytest.mark.parametrize("series", ["6.0", "6.1"])
def test_each_version_of_a_series_of_django_before_the_mended_one_is_excluded(series: str) -> None:
    specifier = requirements()["django"].specifier
    mended = next(mended for name, _, mended, _ in ADVISORIES if name == "django" and mended.startswith(series))
    last = int(mended.rpartition(".")[2])
    assert not specifier.contains(series)
    assert not any(specifier.contains(f"{series}.{patch}") for patch in range(last))
    assert all(specifier.contains(f"{series}.{patch}") for patch in range(last, last + 20))


def test_what_is_installed_here_is_within_the_bounds() -> None:
    wrong: list[Any] = []
    for name, requirement in requirements().items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # of an extra, or of another platform
        if not requirement.specifier.contains(version):
            wrong.append((name, version, str(requirement.specifier)))
    assert wrong == []


PLATFORMS = {
    "Linux": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux on ARM": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "Linux on RISC-V": {"sys_platform": "linux", "platform_machine": "riscv64"},
    "macOS": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "Windows": {"sys_platform": "win32", "platform_machine": "AMD64", "platform_system": "Windows", "os_name": "nt"},
    "FreeBSD": {"sys_platform": "freebsd14", "platform_machine": "amd64"},
    "PyPy": {
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "implementation_name": "pypy",
        "platform_python_implementation": "PyPy",
    },
    "a Python to come": {"python_version": "3.16", "sys_platform": "linux", "platform_machine": "x86_64"},
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_plain_install_is_nine_distributions_at_most_with_one_library_for_http2(platform: str) -> None:
    environment = {**default_environment(), "python_version": "3.12", **PLATFORMS[platform], "extra": ""}
    names: set[str] = set()
    waiting = [Requirement(text) for text in PROJECT["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in names or (requirement.marker and not requirement.marker.evaluate(environment)):
            continue
        names.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):  # of another platform
            waiting += map(Requirement, metadata.requires(name) or ())
    assert len(names) <= 9, names
    assert len(names & {"ngh2", "h2"}) == 1
    assert ("ngh2" in names) == (platform in ("Linux", "Linux on ARM", "macOS", "Windows"))
