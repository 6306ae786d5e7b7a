"""Python files: imports, names that they bind, and strings that are dotted paths."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator

from fullduplex.migrate.apps import change_apps
from fullduplex.migrate.names import DOTTED, ROOTS, exists, looks_like_channels, names_in, root_of, translated
from fullduplex.migrate.text import Text

_INSIDE = re.compile(r"(?<![\w./-])(?:channels\.[A-Za-z_]\w*|channels_redis)(?:\.\w+)*")


def change_python(source: str, roots: frozenset[str] = frozenset(ROOTS)) -> Text:
    """Return the text of a Python file with its changes.

    Args:
        roots: packages that are those of Channels; without one that the project has itself.

    Raises:
        SyntaxError: it is no Python of this version.
    """
    text = Text(source)
    if "channels" not in source and "daphne" not in source:
        return text
    tree = ast.parse(source)
    tokens = list(tokenize.generate_tokens(iter(text.lines).__next__))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            _change_from(text, tokens, node, roots)
        elif isinstance(node, ast.Call):
            _note_call(text, node, roots)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "daphne":
                    text.note(node.lineno, _NO_DAPHNE)
    if "channels" in roots:
        _change_handler(text, tokens, tree)
    for root in sorted(roots):
        _change_imports(text, tree, root)
    change_apps(text, tree)
    _change_strings(text, tokens, roots)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for part in node.values:
                if isinstance(part, ast.Constant):
                    _note_inside(text, node.lineno, str(part.value), roots)
    return text


_ASGI = "django.core.asgi"
_NO_DAPHNE = "Daphne has no counterpart to import here; the server is a command, `fullduplex`"


def _change_from(text: Text, tokens: list[tokenize.TokenInfo], node: ast.ImportFrom, roots: frozenset[str]) -> None:
    """``from channels.layers import get_channel_layer``"""
    assert node.module is not None
    root = root_of(node.module)
    if node.module.partition(".")[0] == "daphne":
        text.note(node.lineno, _NO_DAPHNE)
    if root is None or root not in roots:
        return
    missing = _missing(node.module, [alias.name for alias in node.names])
    if missing:
        text.note(node.lineno, f"fullduplex has no {missing}")
        return
    _replace_module(text, tokens, node, root, ROOTS[root])


def _replace_module(text: Text, tokens: list[tokenize.TokenInfo], node: ast.ImportFrom, old: str, new: str) -> None:
    """Write ``new`` where the name of the module begins with ``old``."""
    start, _ = text.span(node)
    begins = next(i for i, token in enumerate(tokens) if text.offset(*token.start) == start)
    name = next(token for token in tokens[begins + 1 :] if token.type == tokenize.NAME)
    start = text.offset(*name.start)
    if text.source.startswith(old, start):
        text.replace(start, start + len(old), new)


def _change_handler(text: Text, tokens: list[tokenize.TokenInfo], tree: ast.Module) -> None:
    """``from django.core.asgi import get_asgi_application``, for the pages beside Channels' routers."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    if any(node.module == "channels.routing" for node in imports):
        for node in imports:
            if node.module == _ASGI and [alias.name for alias in node.names] == ["get_asgi_application"]:
                _replace_module(text, tokens, node, _ASGI, "fullduplex")


def _missing(module: str, names: list[str]) -> str:
    ours = names_in(translated(module))
    if ours is None:
        return module
    return ", ".join(f"{module}.{name}" for name in names if name != "*" and name not in ours)


def _change_imports(text: Text, tree: ast.Module, root: str) -> None:
    """``import channels.layers`` binds ``channels``: that changes everywhere, unless it has another meaning, too."""
    found = [
        (node, alias)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if root_of(alias.name) == root
    ]
    for node, alias in found:
        if names_in(translated(alias.name)) is None:
            text.note(node.lineno, f"fullduplex has no {alias.name}")
            return
    binding = [(node, alias) for node, alias in found if alias.asname is None]
    other = next(_other_bindings(tree, root), None) if binding else None
    for node, alias in found:
        if alias.asname is None and other is not None:
            text.note(node.lineno, f"line {other} gives the name {root!r} another meaning: which one is meant where?")
            continue
        start, _ = text.span(alias)
        text.replace(start, start + len(root), ROOTS[root])
    if binding and other is None:
        for path, name in _uses(tree, root):
            start, end = text.span(name)
            if text.source[start:end] != root:  # Python 3.11 misplaces what some f-strings hold
                text.note(name.lineno, f"{path} stands in an f-string")
            elif exists(path):
                text.replace(start, end, ROOTS[root])
            else:
                text.note(name.lineno, f"fullduplex has no {path}")


def _other_bindings(tree: ast.Module, name: str) -> Iterator[int]:
    """Lines on which something else than ``import name...`` binds it."""
    for node in ast.walk(tree):
        if (
            (isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load))
            or (isinstance(node, ast.arg) and node.arg == name)
            or (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name)
            or (isinstance(node, ast.ExceptHandler) and node.name == name)
        ):
            yield node.lineno
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if (alias.asname or (alias.name if isinstance(node, ast.ImportFrom) else "")) == name:
                    yield node.lineno


def _uses(tree: ast.Module, root: str) -> Iterator[tuple[str, ast.Name]]:
    """Where the name stands, each with the longest path that goes on from it."""
    paths: dict[ast.expr, str] = {}
    for node in ast.walk(tree):  # what is outside comes first
        if isinstance(node, ast.Attribute):
            outside = paths.get(node, "")
            paths[node.value] = f"{node.attr}.{outside}" if outside else node.attr
        elif isinstance(node, ast.Name) and node.id == root:
            yield f"{root}.{paths[node]}" if node in paths else root, node


def _change_strings(text: Text, tokens: list[tokenize.TokenInfo], roots: frozenset[str]) -> None:
    """``"channels.layers.get_channel_layer"``: in settings, ``mock.patch``, ``import_module``."""
    for token in tokens:
        if token.type == tokenize.STRING:
            _change_string(text, token, roots)


def _change_string(text: Text, token: tokenize.TokenInfo, roots: frozenset[str]) -> None:
    try:
        value = ast.literal_eval(token.string)
    except ValueError:  # an f-string, before Python 3.12
        return
    if not isinstance(value, str):
        return
    match = DOTTED.fullmatch(value)
    if match is None:
        _note_inside(text, token.start[0], value, roots)
        return
    root = match[1]
    if root not in roots or value.endswith(".apps.ChannelsConfig"):
        return
    if exists(value):
        start = text.offset(*token.start) + token.string.index(root)
        text.replace(start, start + len(root), ROOTS[root])
    elif looks_like_channels(value):
        text.note(token.start[0], f"fullduplex has no {value}")


def _note_call(text: Text, node: ast.Call, roots: frozenset[str]) -> None:
    """``import_module("channels")``: elsewhere the name alone may mean anything."""
    match node:
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value="channels"), *_],
        ) if "channels" in roots:
            text.note(node.lineno, f"imports channels by a call: {ROOTS['channels']}")


def _note_inside(text: Text, line: int, value: str, roots: frozenset[str]) -> None:
    if "\n" in value:
        return  # documentation, most of the time
    for match in _INSIDE.finditer(value):
        if root_of(match[0]) in roots and looks_like_channels(match[0]):
            text.note(line, f"{match[0]} stands inside of a longer string")
