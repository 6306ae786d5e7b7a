"""What clients sent, as a log may show it: in one line, and looking like what it is.

For both towers, and below everything else: exceptions name what clients sent, too.
"""

from __future__ import annotations


def escape(text: str) -> str:
    """A value for a log line: it ends neither the line nor the quotes around it, and passes for no escape.

    What ``repr`` would escape is escaped: control characters, and with them the sequences that steer terminals; what
    separates lines (U+2028); what turns the direction of a text (UAX #9: marks, embeddings, overrides, isolates), so
    that it reads as something else; and what cannot be seen.
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(char if char.isprintable() and char not in '"\\' else _escaped(char) for char in text)


def escape_line(text: str) -> str:
    """A whole line, whose values may be escaped already: quotes and backslashes stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
