"""Names of Channels, and whether we have them: read from our source, without importing it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOTS = {"channels": "fullduplex.channels", "channels_redis": "fullduplex.channels.redis"}

#: A whole string that is the path of something in Channels.
DOTTED = re.compile(r"(channels|channels_redis)((?:\.[A-Za-z_]\w*)+)")

# Modules of Channels 1 to 4 that have none here.
_WITHOUT = frozenset({"asgi", "binding", "delay", "handler", "http", "log", "management", "message", "staticfiles"})

_HERE = Path(__file__).resolve().parents[1]


def root_of(path: str) -> str | None:
    """Return which root of Channels a dotted path begins with."""
    root = path.partition(".")[0]
    return root if root in ROOTS else None


def translated(path: str) -> str:
    """Return the path here of one in Channels."""
    root, dot, rest = path.partition(".")
    return ROOTS[root] + dot + rest


def exists(path: str) -> bool:
    """Whether a path in Channels has a counterpart here; what a class has inside is not looked at."""
    module = translated(path).split(".")
    names: list[str] = []
    while (found := names_in(".".join(module))) is None:
        names.insert(0, module.pop())
    return not names or names[0] in found


def looks_like_channels(path: str) -> bool:
    """Whether a dotted string means Channels, and not something else of that name: a template, a field."""
    root, _, rest = path.partition(".")
    ours = names_in(ROOTS["channels"]) or frozenset()
    return root == "channels_redis" or rest.partition(".")[0] in ours | _WITHOUT


@cache
def names_in(module: str) -> frozenset[str] | None:
    """Return what a module of ours has at its top level, submodules too; None: there is no such module."""
    place = _HERE.joinpath(*module.split(".")[1:])
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not source.is_file():
        return None
    tree = ast.parse(source.read_bytes())
    names = {path.stem for path in place.iterdir()} if place.is_dir() else set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                names.update(ast.literal_eval(node.value) if node.value is not None else ())
    return frozenset(names)
