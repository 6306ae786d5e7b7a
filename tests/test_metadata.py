"""The package claims what is there: versions that somebody has run, extras that something imports."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import django
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))

# Lower bounds of what an extra brings along: the first is imported by h2, the second by redis-py.
BROUGHT = {"hpack", "hiredis"}


def claims(name: str) -> set[str]:
    """The versions among the classifiers, such as ``3.11``."""
    pattern = re.compile(rf"{re.escape(name)} :: (\d+\.\d+)")
    return {match[1] for classifier in PROJECT["classifiers"] if (match := pattern.fullmatch(classifier))}


def test_this_python_and_this_django_are_claimed() -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in claims("Programming Language :: Python")
    assert f"{django.VERSION[0]}.{django.VERSION[1]}" in claims("Framework :: Django")


def test_no_version_is_claimed_that_may_not_be_installed() -> None:
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert min(map(_key, claims("Programming Language :: Python"))) == _key(lowest)
    requirements = map(Requirement, PROJECT["dependencies"])
    (specifier,) = [requirement.specifier for requirement in requirements if requirement.name == "Django"]
    assert all(specifier.contains(f"{series}.99") for series in claims("Framework :: Django"))


def test_the_types_are_in_the_package() -> None:
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert (ROOT / "src" / "fullduplex" / "py.typed").exists()


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_something_imports_what_an_extra_brings(extra: str) -> None:
    for text in PROJECT["optional-dependencies"][extra]:
        name = Requirement(text).name.replace("-", "_")
        assert name in BROUGHT or re.search(rf"^ *(import|from) {name}\b", SOURCE, re.MULTILINE), text


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
