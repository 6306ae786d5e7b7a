"""The grammar of HTTP fields, targets and authorities: strictness in one place, for every framing.

Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 3986 (URI). Where a rule is stricter than
the RFC, a comment says so and why.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.wire.events import Fields

_TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"

#: RFC 9110 section 5.6.2.
is_token = re.compile(rb"[" + _TCHAR + rb"]+").fullmatch

#: RFC 9112 section 2.3.
is_version = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch

#: RFC 9110 section 5.5: visible characters, SP, HTAB and obs-text.
is_field_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch

#: What may stand nowhere in a head: controls, CR without LF after it, LF without CR before it. RFC 9112
#: section 2.2 lets a recipient take a bare LF for a line end; two recipients that differ in this can be
#: played against each other, so we never do. A CR at the very end may still get its LF, so it passes.
find_bad_byte = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])").search

#: Bytes that a target may consist of: visible ASCII without "#". Wider than RFC 3986 by ``"<>\^`{|}``,
#: some of which browsers do send in queries (WHATWG URL, query percent-encode set).
TARGET_BYTES = bytes(set(range(0x21, 0x7F)) - {0x23})

_is_reg_name = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+").fullmatch
_split_authority = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@/?#]+)(?::([0-9]{0,5}))?").fullmatch
_split_absolute_form = re.compile(rb"(?i:https?)://([^/?]*)(.*)", re.DOTALL).fullmatch

#: A chunk's size line (RFC 9112 section 7.1.1). More than 16 digits could not be a size of anything.
_EXTENSION_VALUE = rb"(?:[" + _TCHAR + rb']+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*")'
match_chunk_size = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[ \t]*[" + _TCHAR + rb"]+(?:[ \t]*=[ \t]*" + _EXTENSION_VALUE + rb")?)*"
).fullmatch

#: Fields that frame, route or authenticate a message; they mean nothing in trailers (RFC 9110 section 6.5.1).
#: Not Content-Type: clients have sent it there, and it does no harm apart from the headers.
FORBIDDEN_TRAILERS = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"cookie",
        b"expect",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authorization",
        b"proxy-connection",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


def is_authority(value: bytes) -> bool:
    """Whether a Host field or the authority of a target is ``uri-host [":" port]`` (RFC 9110 section 7.2).

    Stricter than RFC 3986: never empty (RFC 9110 section 4.2.1 asks that of http URIs), no port above
    65535, and no IPvFuture, of which none was ever defined.
    """
    match = _split_authority(value)
    if match is None:
        return False
    host, port = match.groups()
    if port and int(port) > 65_535:
        return False
    if not host.startswith(b"["):
        return _is_reg_name(host) is not None
    try:
        IPv6Address(host[1:-1].decode("ascii"))
    except AddressValueError:
        return False
    return True


def split_absolute_form(target: bytes) -> tuple[bytes, bytes]:
    """Split ``http://authority/path?query`` into authority and origin-form (RFC 9112 section 3.2.2).

    The origin-form is empty where the target has neither path nor query.

    Raises:
        RemoteProtocolError: another scheme, or an invalid authority.
    """
    match = _split_absolute_form(target)
    if match is None:
        raise RemoteProtocolError("RFC 9112 section 3.2: the target is in none of the forms of a request target")
    authority, rest = match.groups()
    if not is_authority(authority):
        raise RemoteProtocolError("RFC 9112 section 3.2.2: the authority of the target is invalid")
    return authority, b"/" + rest if rest.startswith(b"?") else rest


def parse_content_length(value: bytes) -> int:
    """Read a Content-Length: digits alone, no sign, no list (RFC 9110 section 8.6).

    Raises:
        RemoteProtocolError: anything else, or more than 18 digits (which no sender means).
    """
    if not value.isdigit() or len(value) > 18:
        raise RemoteProtocolError("RFC 9110 section 8.6: invalid Content-Length")
    return int(value)


def split_list(value: bytes) -> list[bytes]:
    """The elements of a comma-separated list of tokens, in lower case, empty ones left out (RFC 9110 section 5.6.1)."""
    return [element for part in value.lower().split(b",") if (element := part.strip(b" \t"))]


def parse_trailers(block: bytes, max_fields_count: int) -> Fields:
    """Read a trailer section, without the empty line that ends it (RFC 9112 section 7.1.2).

    Raises:
        RemoteProtocolError: malformed (400), or too many fields (431).
    """
    lines = block.split(b"\r\n")
    if len(lines) > max_fields_count:
        raise RemoteProtocolError("RFC 6585 section 5: too many trailer fields", status_hint=431)
    trailers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not is_token(name) or not is_field_value(value):
            raise RemoteProtocolError("RFC 9112 section 5: malformed field")
        name = name.lower()
        if name in FORBIDDEN_TRAILERS:
            raise RemoteProtocolError("RFC 9110 section 6.5.1: a field that may not be in trailers")
        trailers.append((name, value.strip(b" \t")))
    return trailers
