"""Whom to trust behind rtsps://, and what a failed handshake means, in plain words."""

import hashlib
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from streams.errors import StreamError, StreamUnreachable, StreamUntrusted

_SELF_SIGNED = (18, 19)
_UNKNOWN_ISSUER = (2, 20, 21, 27)
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = (62, 64)
_PIN = (
    "Set certificate_sha256 to its fingerprint, after comparing it with the camera's own page, or ca_file to the"
    " certificate of who signed it."
)
_OLD = (
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "VERSION_TOO_LOW",
    "WRONG_SSL_VERSION",
    "HANDSHAKE_FAILURE",
    "DH_KEY_TOO_SMALL",
    "WRONG_SIGNATURE_TYPE",
    "NO_SHARED_CIPHER",
    "BAD_ECPOINT",
    "UNSAFE_LEGACY_RENEGOTIATION",
    "LEGACY_SIGALG",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """At most one is set; none of them: the certificates that this system trusts, for the host that is named.

    certificate_sha256: of the one certificate that is trusted, as hex digits, with colons or without.
    """

    ca_file: Path | None
    certificate_sha256: str | None
    verify: bool

    def context(self) -> ssl.SSLContext:
        """Raises ValueError where ca_file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file is not None else None)
        except OSError as error:  # ssl.SSLError is one
            why = "is no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise ValueError(f"ca_file: {self.ca_file} {why}") from None
        if not self.verify or self.certificate_sha256 is not None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def is_satisfied_by(self, certificate: bytes | None) -> bool:
        """certificate: the camera's, as DER, after a handshake that the context accepted."""
        if self.certificate_sha256 is None:
            return True
        return certificate is not None and fingerprint(certificate) == plain_fingerprint(self.certificate_sha256)


def fingerprint(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()


def plain_fingerprint(text: str) -> str:
    """Without colons and blanks, in lower case. Raises ValueError if it is no SHA-256."""
    plain = re.sub(r"[:\s]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise ValueError("expected 64 hex digits, with colons or without: the SHA-256 fingerprint of a certificate")
    return plain


def other_certificate(certificate: bytes | None, address: str) -> StreamError:
    shown = fingerprint(certificate) if certificate else "none"
    return StreamUntrusted(
        f"{address}: its certificate has the SHA-256 fingerprint {shown}, another than certificate_sha256",
        hint="If the camera was given a new certificate, set that; if not, somebody else answers in its place.",
    )


def in_plain_words(error: ssl.SSLError, host: str, address: str) -> StreamError:
    """A handshake that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, host, address)
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return StreamUnreachable(
            f"{address}: what answers there does not speak TLS", hint="Write rtsp:// instead, or the port of rtsps."
        )
    if any(old in reason for old in _OLD):
        return StreamUntrusted(
            f"{address}: it offers only TLS 1.0 or 1.1, or ciphers that are not safe any more ({reason})",
            hint="Give the camera newer firmware, or read it by rtsp:// in a network of its own.",
        )
    return StreamUnreachable(f"{address}: TLS failed ({reason or 'no reason given'})")


def _untrusted(error: ssl.SSLCertVerificationError, host: str, address: str) -> StreamError:
    if error.verify_code in _SELF_SIGNED:
        said, hint = "is signed by nobody but itself", _PIN
    elif error.verify_code in _UNKNOWN_ISSUER:
        said, hint = "is signed by nobody known here", _PIN
    elif error.verify_code == _EXPIRED:
        said, hint = "has expired", f"Renew it on the camera's own page. {_PIN}"
    elif error.verify_code == _NOT_YET_VALID:
        said, hint = "is not valid yet", "Look at the date of the camera and of this machine."
    elif error.verify_code in _OTHER_NAME:
        said, hint = f"is for another name than {host}", f"Write the name that stands in it into the url. Or: {_PIN}"
    else:
        said, hint = f"does not hold ({error.verify_message})", _PIN
    return StreamUntrusted(f"{address}: its certificate {said}", hint=hint)
