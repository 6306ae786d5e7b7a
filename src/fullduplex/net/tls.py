"""TLS of the listeners: the context, its renewal while serving, and what is known of a connection's handshake."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from fullduplex.exceptions import ConfigurationError
from fullduplex.net.tls_config import TLSConfig

logger = logging.getLogger("fullduplex.server")

_VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
    # What Uvicorn calls them.
    "0": ssl.CERT_NONE,
    "1": ssl.CERT_OPTIONAL,
    "2": ssl.CERT_REQUIRED,
}
_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

_find_certificate = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL).search


class Handshake:
    """What there is to know of the socket of a handshake.

    Attributes:
        has_begun: its client has sent something.
    """

    __slots__ = ("has_begun", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.has_begun = False


#: That of the connection which is made in this context of variables: event loops do not tell a TLS context.
current_handshake: ContextVar[Handshake | None] = ContextVar("current_handshake", default=None)


class ServerContext(ssl.SSLContext):
    """A context that knows the certificate which it serves (the standard library's does not tell)."""

    server_cert: str | None = None


class _ServerObject(ssl.SSLObject):
    """Tells a client why its handshake fails.

    OpenSSL has the alert ready (RFC 8446 section 6.2), and event loops drop the connection without sending it.
    """

    _bios: tuple[ssl.MemoryBIO, ssl.MemoryBIO] | None = None
    _handshake: Handshake | None = None

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, handshake: Handshake | None) -> None:
        self._bios = incoming, outgoing
        self._handshake = handshake

    def do_handshake(self) -> None:
        if self._bios is None or self._handshake is None:
            super().do_handshake()
            return
        incoming, outgoing = self._bios
        self._handshake.has_begun |= incoming.pending > 0
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            alert = outgoing.read()
            if alert:
                with contextlib.suppress(OSError):
                    self._handshake.sock.send(alert)
            raise
        self._bios = self._handshake = None


class TLS:
    """The contexts of a worker: one is in use, and is replaced when its files change.

    Args:
        make: returns a new context from the configuration.
        files: those that it reads.

    Raises:
        ConfigurationError: from ``make``.

    Attributes:
        context: for new connections. They keep the context of their handshake.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], files: Sequence[str]) -> None:
        self._make = make
        self._files = files
        self.context = _CurrentContext(ssl.PROTOCOL_TLS_SERVER)
        self._loaded = self._seen = self._stamps()
        self.context.use(make())

    def reload(self) -> None:
        """Use the files as they are now for new handshakes; with broken ones go on as before, and log it."""
        self._loaded = self._seen = self._stamps()
        try:
            self.context.use(self._make())
        except ConfigurationError as error:
            logger.error("TLS stays as it was: %s", error)
        except Exception:
            logger.exception("TLS stays as it was: the context factory failed")
        else:
            logger.info("TLS renewed")

    def reload_if_changed(self) -> None:
        """Reload when files have changed since, and no longer do: key and certificate are never replaced at once."""
        stamps = self._stamps()
        if stamps != self._loaded and stamps == self._seen:
            self.reload()
        self._seen = stamps

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files]


class _CurrentContext(ssl.SSLContext):
    """Stands for whichever context is in use. Event loops take from a context nothing but ``wrap_bio``."""

    current: ssl.SSLContext

    def use(self, context: ssl.SSLContext) -> None:
        if context.sslobject_class is ssl.SSLObject:  # else somebody has one of his own
            context.sslobject_class = _ServerObject
        self.current = context

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        made = self.current.wrap_bio(incoming, outgoing, *args, **kwargs)
        if isinstance(made, _ServerObject):
            made.begin(incoming, outgoing, current_handshake.get())
        return made


def make_context(config: TLSConfig, protocols: Sequence[str]) -> ssl.SSLContext:
    """A context from files.

    Args:
        config: which files, and what clients must show.
        protocols: names for ALPN (RFC 7301), the preferred one first.

    Raises:
        ConfigurationError: a file cannot be read or does not fit, or the options contradict each other.
    """
    if not config.certfile:
        raise ConfigurationError("--ssl-keyfile needs --ssl-certfile, the certificate that belongs to the key.")
    verify_mode = _VERIFY_MODES[config.cert_reqs]
    if verify_mode is not ssl.CERT_NONE and not config.ca_certs:
        raise ConfigurationError("--ssl-cert-reqs needs --ssl-ca-certs, the authorities to trust.")
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([*protocols])
    _load_certificate(context, config)
    if config.ca_certs:
        try:
            context.load_verify_locations(config.ca_certs)
        except OSError as error:
            raise ConfigurationError(f"--ssl-ca-certs {config.ca_certs}: {_explain(error)}.") from None
    context.verify_mode = verify_mode
    if config.ciphers:
        try:
            context.set_ciphers(config.ciphers)
        except ssl.SSLError:
            raise ConfigurationError(f"--ssl-ciphers {config.ciphers}: OpenSSL knows no such ciphers.") from None
    return context


def files_of(config: TLSConfig) -> list[str]:
    """The files whose change renews the context."""
    return [file for file in (config.certfile, config.keyfile, config.ca_certs) if file]


def describe(ssl_object: ssl.SSLObject) -> dict[str, Any]:
    """What is known of a handshake, under the names of the ASGI extension ``tls``.

    The client's chain is whole from Python 3.13, and its own certificate alone before.

    Source: https://asgi.readthedocs.io/en/latest/specs/tls.html (version 0.2).
    """
    cipher = ssl_object.cipher()
    return {
        "server_cert": getattr(ssl_object.context, "server_cert", None),
        "client_cert_chain": _client_chain(ssl_object),
        "client_cert_name": _distinguished_name((ssl_object.getpeercert() or {}).get("subject", ())),  # type: ignore[arg-type]
        "client_cert_error": None,  # a certificate with an error ends the handshake
        "tls_version": _VERSIONS.get(ssl_object.version() or ""),
        "cipher_suite": _cipher_number(ssl_object.context, cipher[0]) if cipher else None,
    }


def explain_handshake(error: OSError, handshake: Handshake) -> str | None:
    """Why a handshake failed, for the log; None where there was none, as when a proxy looks whether we are there."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, ConnectionAbortedError):  # by the event loops
        return "it took too long"
    return "the client left" if handshake.has_begun else None


def _load_certificate(context: ServerContext, config: TLSConfig) -> None:
    assert config.certfile is not None

    def password() -> str:
        # Without a password of ours OpenSSL would ask the terminal, and wait for ever where nobody sits.
        if config.keyfile_password is None:
            raise ConfigurationError("the private key is encrypted: set --ssl-keyfile-password.")
        return config.keyfile_password

    try:
        with open(config.certfile, encoding="ascii", errors="replace") as file:
            found = _find_certificate(file.read())
        if config.keyfile:
            open(config.keyfile, "rb").close()  # OpenSSL would not say which of the two it cannot read
        context.load_cert_chain(config.certfile, config.keyfile, password)
    except OSError as error:  # an SSLError is one
        files = error.filename or " and ".join(file for file in (config.certfile, config.keyfile) if file)
        raise ConfigurationError(f"--ssl-certfile, --ssl-keyfile: {files}: {_explain(error)}.") from None
    context.server_cert = found.group() if found else None


def _explain(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return f"not in PEM, or the wrong password ({error.reason or error})"


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _client_chain(ssl_object: ssl.SSLObject) -> list[str]:
    verified_chain = getattr(ssl_object, "get_verified_chain", None)  # Python 3.13
    leaf = ssl_object.getpeercert(binary_form=True)
    if leaf is None:
        return []
    return [ssl.DER_cert_to_PEM_cert(certificate) for certificate in (verified_chain() if verified_chain else [leaf])]


_cipher_numbers: dict[str, int] = {}


def _cipher_number(context: ssl.SSLContext, name: str) -> int | None:
    """The 16-bit number of a cipher suite; OpenSSL adds the protocol above it."""
    if name not in _cipher_numbers:
        _cipher_numbers.update({cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()})
    return _cipher_numbers.get(name)


#: RFC 4514 section 3; other types keep OpenSSL's names.
_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_escape = re.compile(r'[",+;<>\\]|^[ #]| $').sub


def _distinguished_name(subject: Sequence[Sequence[tuple[str, str]]]) -> str | None:
    """A name as RFC 4514 writes it: the most specific part first."""
    parts = [
        "+".join(
            f"{_SHORT_NAMES.get(kind, kind)}={_escape(lambda match: chr(92) + match.group(), value)}"
            for kind, value in names
        ).replace("\0", "\\00")
        for names in reversed(subject)
    ]
    return ",".join(parts) or None
