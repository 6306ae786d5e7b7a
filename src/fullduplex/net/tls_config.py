"""What is configured of TLS; apart from what it does, so that a supervisor needs no ``ssl``."""

from __future__ import annotations

from dataclasses import dataclass

from fullduplex.limits import Checked, opt

VERIFY_MODES = ("none", "optional", "required", "0", "1", "2")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSConfig(Checked):
    """TLS of all TCP and UNIX listeners. On with a certificate or a context factory."""

    certfile: str | None = opt(
        None, "Certificate, and the chain after it, in PEM. Renewed when the file changes.", metavar="FILE"
    )
    keyfile: str | None = opt(None, "Its private key, where it is not in the same file.", metavar="FILE")
    keyfile_password: str | None = opt(
        None, "Password of the private key; better in the environment than on a command line.", secret=True
    )
    ca_certs: str | None = opt(None, "Authorities that may sign clients' certificates, in PEM.", metavar="FILE")
    cert_reqs: str = opt(
        "none",
        "Whether clients show a certificate; 0, 1 and 2 are Uvicorn's names of the same.",
        choices=VERIFY_MODES,
    )
    ciphers: str = opt("", "Ciphers of TLS 1.2, as OpenSSL writes them; without: those that Python deems secure.")
    context: str | None = opt(
        None, "Callable that returns the ssl.SSLContext instead: module:callable.", metavar="MODULE:CALLABLE"
    )
    handshake_timeout_s: float = opt(
        10.0, "From connecting to the end of the TLS handshake; then dropped. Hypercorn and asyncio: 60.", minimum=0.1
    )

    @property
    def enabled(self) -> bool:
        return bool(self.certfile or self.keyfile or self.context)
