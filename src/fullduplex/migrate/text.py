"""A source text with changes to come: positions of ``ast`` and ``tokenize`` become offsets, all else stays as it is."""

from __future__ import annotations

import ast
import io
import itertools


class Text:
    """
    Attributes:
        notes: line and reason of what was found and not changed.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.notes: list[tuple[int, str]] = []
        self.lines = list(io.StringIO(source, newline=""))
        self._starts = [0, *itertools.accumulate(len(line) for line in self.lines)]
        self._edits: dict[tuple[int, int], str] = {}

    @property
    def edits_count(self) -> int:
        return len(self._edits)

    def offset(self, line: int, column: int) -> int:
        """Of a position as ``tokenize`` has it: columns are characters."""
        return self._starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt | ast.alias) -> tuple[int, int]:
        """Of a node; ``ast`` counts columns in bytes of UTF-8."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._of_bytes(node.lineno, node.col_offset), self._of_bytes(node.end_lineno, node.end_col_offset)

    def replace(self, start: int, end: int, new: str) -> None:
        self._edits[start, end] = new

    def drop(self, start: int) -> None:
        """Take back the change that begins there."""
        for span in [span for span in self._edits if span[0] == start]:
            del self._edits[span]

    def note(self, line: int, why: str) -> None:
        self.notes.append((line, why))

    def result(self) -> str:
        """Return the text with all changes."""
        text = self.source
        for (start, end), new in sorted(self._edits.items(), reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _of_bytes(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())
