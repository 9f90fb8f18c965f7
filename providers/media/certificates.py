"""The certificate that films are signed with: that of the settings, or one for development."""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: The common name of the development certificate: a reader recognises it by that name.
DEVELOPMENT_NAME, DEVELOPMENT_ROOT = "MyloWare development certificate", "MyloWare development root"
DEVELOPMENT_LIFETIME = timedelta(days=3650)
#: The file of the data folder with the development certificate and its key.
FILE_NAME = "c2pa.pem"
ECDSA = {256: "ES256", 384: "ES384", 521: "ES512"}


class CertificateError(ValueError):
    """Films cannot be signed with this certificate and key; the message is one sentence."""


@dataclass(frozen=True)
class SigningKey:
    """A certificate chain, the leaf first, and the private key of the leaf, as PEM, with its C2PA algorithm."""

    certificates: str
    key: str
    algorithm: str

    @property
    def leaf(self) -> x509.Certificate:
        """Return the certificate that signs."""
        return x509.load_pem_x509_certificate(self.certificates.encode())


def read_signing_key(certificate: Path, key: Path) -> SigningKey:
    """Return the signing key in two PEM files. Raises CertificateError naming the setting."""
    return _parse(_read("C2PA_CERTIFICATE", certificate), _read("C2PA_KEY", key))


def development_key(folder: Path) -> SigningKey:
    """Return the development key of a data folder. One of several processes that need it first generates it."""
    path = folder / FILE_NAME
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{FILE_NAME}-") as file:  # mode 0600
            file.write(_generate())
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first
                os.link(file.name, path)
    pem = _read("MYLOWARE_DATA_DIR", path)
    return _parse(pem, pem)


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{setting}: {path} cannot be read: {error.strerror or error}.") from error


def _parse(certificates: bytes, key: bytes) -> SigningKey:
    try:
        chain = x509.load_pem_x509_certificates(certificates)
    except ValueError as error:
        raise CertificateError("C2PA_CERTIFICATE: the file contains no certificate in PEM form.") from error
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise CertificateError("C2PA_KEY: the file contains no private key in PEM form without a password.") from error
    match private:
        case ec.EllipticCurvePrivateKey() if private.curve.key_size in ECDSA:
            algorithm = ECDSA[private.curve.key_size]
        case rsa.RSAPrivateKey():
            algorithm = "PS256"
        case ed25519.Ed25519PrivateKey():
            algorithm = "ED25519"
        case _:
            raise CertificateError("C2PA_KEY: C2PA takes keys of P-256, P-384, P-521, RSA and Ed25519 only.")
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        raise CertificateError("C2PA_KEY: it is not the key of the first certificate in C2PA_CERTIFICATE.")
    if not chain[0].not_valid_before_utc <= datetime.now(UTC) < chain[0].not_valid_after_utc:
        dates = f"{chain[0].not_valid_before_utc:%Y-%m-%d} to {chain[0].not_valid_after_utc:%Y-%m-%d}"
        raise CertificateError(f"C2PA_CERTIFICATE: the certificate is valid from {dates} only.")
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    return SigningKey(pem.decode(), _key_pem(private).decode(), algorithm)


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _generate() -> bytes:
    """Return a new certificate, the root that signed it, and its key: C2PA refuses a leaf that signed itself."""
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate(DEVELOPMENT_ROOT, root_key, root_key)
    leaf = _certificate(DEVELOPMENT_NAME, leaf_key, root_key)
    return leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM) + _key_pem(leaf_key)


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now, is_root = datetime.now(UTC), key is signer
    usage = x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(DEVELOPMENT_ROOT))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + DEVELOPMENT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(usage, critical=True)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "MyloWare")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
