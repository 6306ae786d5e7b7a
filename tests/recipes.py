"""The recipes of ``docs/howto/observe.md``, as a project would have them: what stands there is what runs here.

A block of Python that begins with ``# mysite/observe.py`` becomes the module ``mysite.observe``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "observe.md"
SEPARATOR = ", "  # between the titles of sections

_SECTION = re.compile(r"^##+ (?P<title>.+)$(?P<text>(?:.|\n)*?)(?=^##|\Z)", re.M)
_BLOCK = re.compile(r"^```python\n# (?P<path>mysite/\w+\.py)\n(?P<code>.*?)^```$", re.M | re.S)


def install(titles: str, *paths: str) -> list[ModuleType]:
    """Make modules of the files in these sections, of a later one where both have it, and return those there are."""
    files: dict[str, str] = {}
    for title in titles.split(SEPARATOR):
        files |= files_of(title)
    sys.modules.setdefault("mysite", ModuleType("mysite"))
    return [_make(path, files[path], titles) for path in paths if path in files]


def titles() -> list[str]:
    return [section["title"] for section in _SECTION.finditer(PAGE.read_text())]


def files_of(title: str) -> dict[str, str]:
    """Return the code of each file in a section, by its path."""
    (section,) = [found for found in _SECTION.finditer(PAGE.read_text()) if found["title"] == title]
    return {block["path"]: block["code"] for block in _BLOCK.finditer(section["text"])}


def _make(path: str, code: str, titles: str) -> ModuleType:
    name = path.removesuffix(".py").replace("/", ".")
    module = sys.modules[name] = ModuleType(name)
    exec(compile(code, f"{path} in {PAGE.name}, {titles}", "exec"), vars(module))
    return module
