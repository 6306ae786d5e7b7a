"""Contexts from files, their renewal, and what is known of a handshake; handshakes run in memory."""

from __future__ import annotations

import os
import ssl

import pytest
import trustme

from fullduplex.exceptions import ConfigurationError
from fullduplex.net.tls import TLS, TLSConfig, describe, files_of, make_context

CA = trustme.CA()


@pytest.fixture
def files(tmp_path):
    return write(tmp_path, CA.issue_cert("localhost"))


def write(directory, certificate):
    """Write certificate and key; return their names as options."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    return {"certfile": str(cert), "keyfile": str(key)}


def context(protocols=("http/1.1",), **options):
    return make_context(TLSConfig(**options), protocols)


def shake_hands(server_context, *, protocols=(), certificate=None):
    """Do a TLS handshake without a network; return both sides."""
    client_context = ssl.create_default_context()
    CA.configure_trust(client_context)
    if protocols:
        client_context.set_alpn_protocols(list(protocols))
    if certificate:
        certificate.configure_cert(client_context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    waiting = {client.do_handshake, server.do_handshake}
    while waiting:
        for step in [*waiting]:
            try:
                step()
                waiting.discard(step)
            except ssl.SSLWantReadError:
                pass
    return server, client


def test_a_handshake_is_described_as_the_asgi_extension_says(files):
    server, client = shake_hands(context(**files), protocols=["h2", "http/1.1"])
    described = describe(server)
    assert ssl.PEM_cert_to_DER_cert(described["server_cert"]) == client.getpeercert(binary_form=True)
    assert described["client_cert_chain"] == []
    assert described["client_cert_name"] is None
    assert described["client_cert_error"] is None
    assert described["tls_version"] == 0x0304
    assert described["cipher_suite"] in (0x1301, 0x1302, 0x1303)  # RFC 8446 appendix B.4
    assert server.selected_alpn_protocol() == "http/1.1"


def test_a_client_s_certificate_is_verified_and_described(files, tmp_path):
    ca_file = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(ca_file)
    required = context(**files, ca_certs=str(ca_file), cert_reqs="required")
    certificate = CA.issue_cert("someone", common_name='Some, "One"', organization_name="Us")
    server, _ = shake_hands(required, certificate=certificate)
    described = describe(server)
    assert described["client_cert_name"].startswith('CN=Some\\, \\"One\\",')
    assert described["client_cert_name"].endswith("O=Us")
    assert ssl.PEM_cert_to_DER_cert(described["client_cert_chain"][0]) == server.getpeercert(binary_form=True)


def test_a_required_certificate_that_is_missing_or_of_a_stranger_ends_the_handshake(files, tmp_path):
    ca_file = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(ca_file)
    required = context(**files, ca_certs=str(ca_file), cert_reqs="2")
    for certificate in (None, trustme.CA().issue_cert("someone")):
        with pytest.raises(ssl.SSLError):
            shake_hands(required, certificate=certificate)


def test_one_file_may_hold_both(tmp_path):
    file = tmp_path / "both.pem"
    CA.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(file)
    assert describe(shake_hands(context(certfile=str(file)))[0])["server_cert"].startswith("-----BEGIN CERT")


def test_old_versions_of_tls_are_refused(files):
    assert context(**files).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.fixture
def encrypted(files):
    from cryptography.hazmat.primitives import serialization

    with open(files["keyfile"], "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    with open(files["keyfile"], "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    return files


def test_an_encrypted_key_needs_its_password_and_never_asks_the_terminal(encrypted):
    context(**encrypted, keyfile_password="secret")
    with pytest.raises(ConfigurationError, match="set --ssl-keyfile-password"):
        context(**encrypted)
    with pytest.raises(ConfigurationError, match="wrong password"):
        context(**encrypted, keyfile_password="wrong")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"certfile": "nowhere.pem"}, r"nowhere\.pem: No such file or directory\.$"),
        ({"keyfile": "nowhere.pem"}, r"-keyfile: nowhere\.pem: No such file or directory\.$"),
        ({"certfile": None}, "--ssl-keyfile needs --ssl-certfile"),
        ({"certfile": __file__}, "not in PEM"),
        ({"cert_reqs": "required"}, "--ssl-cert-reqs needs --ssl-ca-certs"),
        ({"ca_certs": "nowhere.pem"}, "--ssl-ca-certs nowhere.pem: No such file"),
        ({"ca_certs": __file__}, "--ssl-ca-certs"),
        ({"ciphers": "ROT13"}, "--ssl-ciphers ROT13: OpenSSL knows no such ciphers"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(files, options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        context(**{**files, **options})
    assert "\n" not in str(caught.value)


def test_a_key_of_another_certificate_is_one_clear_line(files, tmp_path):
    with open(files["keyfile"], "wb") as file:
        file.write(CA.issue_cert("other").private_key_pem.bytes())
    with pytest.raises(ConfigurationError, match="the key does not belong to the certificate"):
        context(**files)


def test_new_files_are_used_when_both_are_there_and_broken_ones_never(tmp_path, files, caplog):
    caplog.set_level("INFO", "fullduplex.server")
    config = TLSConfig(**files)
    tls = TLS(lambda: make_context(config, ["http/1.1"]), files_of(config))

    def served():
        return describe(shake_hands(tls.context)[0])["server_cert"]

    first = served()
    tls.reload_if_changed()
    assert served() == first
    (tmp_path / "new").mkdir()
    new = write(tmp_path / "new", CA.issue_cert("localhost"))
    os.replace(new["certfile"], files["certfile"])
    tls.reload_if_changed()  # the key is on its way
    os.replace(new["keyfile"], files["keyfile"])
    tls.reload_if_changed()
    assert served() == first
    tls.reload_if_changed()
    second = served()
    assert second != first
    assert "TLS renewed" in caplog.text

    with open(files["certfile"], "w") as file:
        file.write("broken")
    for _ in range(4):
        tls.reload_if_changed()
    assert served() == second
    assert caplog.text.count("TLS stays as it was") == 1


def test_a_factory_that_fails_leaves_the_context_as_it_was(files, caplog):
    contexts = [context(**files)]
    tls = TLS(lambda: contexts.pop(), [])
    tls.reload()
    assert "the context factory failed" in caplog.text
    shake_hands(tls.context)
