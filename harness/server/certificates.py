"""Certificates for the fakes, for servers with hard-coded hosts such as `api.openai.com`.

A throwaway certificate authority is made for a run. Its key never leaves memory, it is limited to the intercepted
hosts by name constraints (RFC 5280, 4.2.1.10), and it is valid for two days. The `intercept` modules of the agents
redirect a server's connections to these hosts to the fakes, over real TLS, and trust the authority for these hosts
alone; other connections are left alone.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from leakline.harness.data.errors import UsageError
from leakline.harness.server import scratch

OPENAI, TWILIO = "api.openai.com", "api.twilio.com"

HOSTS: tuple[str, ...] = (OPENAI, TWILIO)
"""The hosts that can be intercepted: a fake stands for each."""

VARIABLE = "LEAKLINE_INTERCEPT"
"""Environment variable that tells the agents where to: `host=address:port` pairs with commas between."""

CA_VARIABLE = "LEAKLINE_INTERCEPT_CA"
"""Environment variable with the path of the authority's certificate (PEM)."""

_LIFE = timedelta(days=2)
"""How long the certificates are valid: longer than a run, and short enough that a stray one is worthless."""


def check_hosts(hosts: Sequence[str]) -> None:
    """Raise UsageError for a host that no fake stands for."""
    for host in hosts:
        if host not in HOSTS:
            raise UsageError(f"intercept: expected {' or '.join(HOSTS)}, found {host!r}")


class CertificateAuthority:
    """The certificate authority of one run. Use as a context manager: nothing of it is left on disk after.

    Raises UsageError for a host that no fake stands for.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        check_hosts(hosts)
        self._hosts = tuple(hosts)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._authority = self._make_authority()
        self._folder = Path()

    def __enter__(self) -> Self:
        self._folder = scratch.make("ca")
        self._ca.write_bytes(self._authority.public_bytes(serialization.Encoding.PEM))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        scratch.remove(self._folder)

    @property
    def _ca(self) -> Path:
        return self._folder / "ca.pem"

    def context(self, host: str) -> ssl.SSLContext:
        """The TLS context with which a fake serves as `host`, with a new certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(host, self._authority.subject, key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain = self._folder / "chain.pem"  # the ssl module reads keys from files alone: removed at once
        chain.touch(mode=0o600)
        try:
            chain.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                + certificate.public_bytes(serialization.Encoding.PEM)
            )
            context.load_cert_chain(chain)
        finally:
            chain.unlink()
        return context

    def environment(self, base: Mapping[str, str], addresses: Mapping[str, str]) -> dict[str, str]:
        """`base` and what redirects a server to `addresses` ({host: `address:port`}), which it then trusts.

        The agents read the first two. Node itself reads `NODE_EXTRA_CA_CERTS` at its start.
        """
        return {
            **base,
            VARIABLE: ",".join(f"{host}={address}" for host, address in addresses.items()),
            CA_VARIABLE: str(self._ca),
            "NODE_EXTRA_CA_CERTS": str(self._ca),
        }

    def _make_authority(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leakline, for one run")])
        permitted = [x509.DNSName(host) for host in self._hosts]
        return (
            _builder("leakline, for one run", name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
            .add_extension(_key_usage(), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _builder(common_name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
    )


def _key_usage() -> x509.KeyUsage:
    signs = dict.fromkeys(("key_cert_sign", "crl_sign", "digital_signature"), True)
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(**signs, **dict.fromkeys(others, False), encipher_only=False, decipher_only=False)
