"""``INSTALLED_APPS``: ``"fullduplex"`` in the place of ``"daphne"`` and ``"channels"``, before all others."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fullduplex.migrate.text import Text

OURS = "fullduplex"
_THEIRS = frozenset({"channels", "daphne", "channels.apps.ChannelsConfig", "daphne.apps.DaphneConfig"})
_FIRST = f"{OURS!r} must stand before 'django.contrib.staticfiles' in INSTALLED_APPS"

Display = ast.List | ast.Tuple


def change_apps(text: Text, tree: ast.Module) -> None:
    """Change each list of applications, and tell where one is asked for."""
    is_there = False
    for display, is_first in _lists(tree):
        values = [_string(element) for element in display.elts]
        theirs = [i for i, value in enumerate(values) if value in _THEIRS]
        is_there = is_there or OURS in values
        if theirs:
            _change_list(text, display, theirs, is_there, is_first)
            is_there = True
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _look_at_call(text, node)
        elif isinstance(node, ast.Compare) and _string(node.left) in _THEIRS and "INSTALLED_APPS" in ast.unparse(node):
            text.note(node.lineno, f"asks whether {_string(node.left)!r} is installed; the application is {OURS!r}")


def _lists(tree: ast.Module) -> Iterator[tuple[Display, bool]]:
    """Lists and tuples of applications; whether ``INSTALLED_APPS`` begins with one."""
    for node in ast.walk(tree):
        value: ast.expr | None = None
        name = ""
        if isinstance(node, ast.Assign):
            name, value = _name(node.targets[0]), node.value
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
            name, value = _name(node.target), node.value
        elif isinstance(node, ast.keyword) and node.arg:
            name, value = node.arg, node.value
        if value is None or not name.endswith("APPS"):
            continue
        first = None if name != "INSTALLED_APPS" or isinstance(node, ast.AugAssign) else value
        while isinstance(first, ast.BinOp):  # [...] + OTHER_APPS
            first = first.left
        displays = [part for part in ast.walk(value) if isinstance(part, Display)]
        for part in sorted(displays, key=lambda display: (display.lineno, display.col_offset)):
            yield part, part is first


def _change_list(text: Text, display: Display, theirs: list[int], is_there: bool, is_first: bool) -> None:
    elements = display.elts
    start, end = text.span(elements[theirs[0]])
    quote = text.source[end - 1]
    in_place = not is_there and (theirs[0] == 0 or not is_first)
    if in_place:
        text.replace(start, end, f"{quote}{OURS}{quote}")
    elif not is_there:
        first, _ = text.span(elements[0])
        row = text.lines[elements[0].lineno - 1]
        before = row[: first - text.offset(elements[0].lineno, 0)]
        space = " " if before.strip() else row[len(row.rstrip("\r\n")) :] + before
        text.replace(first, first, f"{quote}{OURS}{quote},{space}")
    if not is_there and not is_first:
        text.note(elements[theirs[0]].lineno, _FIRST)
    gone = set(theirs[1:] if in_place else theirs)
    kept = [index for index in range(len(elements)) if index not in gone]
    if is_there and not kept:
        _, end = text.span(elements[-1])
        text.replace(text.span(elements[0])[0], end + _comma_length(text, end), "")
        return
    is_single = isinstance(display, ast.Tuple) and len(kept) == 1 and (in_place or is_there)
    for index in sorted(gone):
        _remove(text, elements, index, gone, comma="," if is_single else "")
    if is_single:
        _, end = text.span(elements[kept[0]])
        if not _comma_length(text, end):
            text.replace(end, end, ",")


def _remove(text: Text, elements: list[ast.expr], index: int, gone: set[int], comma: str) -> None:
    """Take an element out, with its comma; with its line where nothing else stands there.

    Args:
        comma: what follows the element that is the last one then.
    """
    start, end = text.span(elements[index])
    line = elements[index].lineno
    row, row_start = text.lines[line - 1], text.offset(line, 0)
    behind = row[end - row_start :].partition("#")[0].strip()
    kept_before = next((i for i in range(index, -1, -1) if i not in gone), None)
    if not row[: start - row_start].strip() and behind in ("", ","):
        text.replace(row_start, row_start + len(row), "")
    elif index + 1 < len(elements):
        text.replace(start, text.span(elements[index + 1])[0], "")
    elif kept_before is not None:  # the last: the comma before it goes, too
        for other in range(kept_before + 1, index):
            text.drop(text.span(elements[other])[0])
        text.replace(text.span(elements[kept_before])[1], end, "" if _comma_length(text, end) else comma)


def _comma_length(text: Text, end: int) -> int:
    """How many characters there are up to and with the comma that follows; 0: none does."""
    rest = text.source[end:]
    return len(rest) - len(rest.lstrip()) + 1 if rest.lstrip().startswith(",") else 0


def _look_at_call(text: Text, node: ast.Call) -> None:
    """``INSTALLED_APPS.append("channels")``, ``apps.is_installed("channels")``"""
    if not isinstance(node.func, ast.Attribute):
        return
    app = next((_string(argument) for argument in node.args if _string(argument) in _THEIRS), None)
    if app is None:
        return
    if node.func.attr == "is_installed":
        text.note(node.lineno, f"asks whether {app!r} is installed; the application is {OURS!r}")
    elif _name(node.func.value).endswith("APPS"):
        text.note(node.lineno, f"{app!r} becomes {OURS!r}, once; {_FIRST}")


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _string(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
