"""AWS Signature Version 4, header form, with nothing but hashlib and hmac.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. The tests hold it
equal to botocore's signer.
"""

from __future__ import annotations

import hashlib
import hmac
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_QUOTED = [chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256)]
_QUOTED_PATH = [*_QUOTED]
_QUOTED_PATH[ord("/")] = "/"


class Credentials:
    """Keys of a role session; `expires_s` (epoch) is None for keys that don't say."""

    __slots__ = ("access_key", "expires_s", "secret_key", "token")

    def __init__(
        self, access_key: str, secret_key: str, token: str | None = None, expires_s: float | None = None
    ) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.token = token
        self.expires_s = expires_s

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r}, secret hidden)"


def quote(text: str) -> str:
    """Percent-encode everything but A-Z a-z 0-9 - . _ ~."""
    return "".join([_QUOTED[byte] for byte in text.encode()])


def quote_path(text: str) -> str:
    """Percent-encode a path, keeping its slashes."""
    return "".join([_QUOTED_PATH[byte] for byte in text.encode()])


def query_string(parameters: Sequence[tuple[str, str]]) -> str:
    """Encode and sort query parameters the way both the request line and the signature need them."""
    return "&".join(sorted(f"{quote(name)}={quote(value)}" for name, value in parameters))


class Signer:
    """Signs requests of one service and region; the derived key is kept for the day it is valid."""

    __slots__ = ("_day", "_key", "_key_of", "region", "service")

    def __init__(self, service: str, region: str) -> None:
        self.service = service
        self.region = region
        self._day = ""
        self._key = b""
        self._key_of = ""

    def sign(
        self,
        credentials: Credentials,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        payload_sha256: str,
        now_s: float,
    ) -> dict[str, str]:
        """Return the headers to send: the given ones (lower-case names) plus date, token and signature.

        `path` is the path as sent. S3 signs it as it is; the other services encode it once more.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        day = stamp[:8]
        signed = {**headers, "x-amz-date": stamp}
        if self.service == "s3":
            signed["x-amz-content-sha256"] = payload_sha256
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        canonical_headers = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in names)
        signed_names = ";".join(names)
        canonical_path = path if self.service == "s3" else quote_path(path)
        canonical = (
            f"{method}\n{canonical_path}\n{query}\n{canonical_headers}\n{signed_names}\n{payload_sha256}"
        )
        scope = f"{day}/{self.region}/{self.service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = hmac.digest(self._signing_key(credentials, day), text.encode(), "sha256").hex()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed_names}, Signature={signature}"
        )
        return signed

    def _signing_key(self, credentials: Credentials, day: str) -> bytes:
        if self._day != day or self._key_of != credentials.secret_key:
            key = hmac.digest(b"AWS4" + credentials.secret_key.encode(), day.encode(), "sha256")
            for part in (self.region, self.service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._day, self._key_of = key, day, credentials.secret_key
        return self._key
