"""Who signed a request: keys the embedded cloud issued belong to role sessions, every other key to the operator."""

import hashlib
import hmac
import secrets
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from keepwarm_localcloud.request import AwsError, Caller


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary credentials of one role session."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    role_arn: str
    session_name: str
    context: Mapping[str, str] = field(default_factory=dict)
    """Condition keys of every request of this session, such as `lambda:SourceFunctionArn`."""

    @property
    def assumed_role_arn(self) -> str:
        """ARN of the session, as GetCallerIdentity gives it."""
        account, name = self.role_arn.split(":")[4], self.role_arn.rpartition("/")[2]
        return f"arn:aws:sts::{account}:assumed-role/{name}/{self.session_name}"

    def as_environment(self) -> dict[str, str]:
        """The three variables every SDK reads."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": self.session_token,
        }


class CredentialStore:
    """Issue and recognize credentials. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._issued: dict[str, Credentials] = {}

    def issue(
        self, role_arn: str, session_name: str, *, context: Mapping[str, str] | None = None
    ) -> Credentials:
        """Make credentials of a role session.

        Args:
            role_arn: The role; its policies are looked up at each request, so that a change acts at once.
            session_name: What `GetCallerIdentity` shows after the role's name.
            context: Condition keys that every request of the session has, such as `lambda:SourceFunctionArn`.
        """
        credentials = Credentials(
            "ASIA" + secrets.token_hex(8).upper(),
            secrets.token_urlsafe(30),
            secrets.token_urlsafe(96),
            role_arn,
            session_name,
            dict(context or {}),
        )
        with self._lock:
            self._issued[credentials.access_key_id] = credentials
        return credentials

    def revoke(self, access_key: str) -> None:
        """Forget credentials, when the environment they were made for is gone."""
        with self._lock:
            self._issued.pop(access_key, None)

    def find(self, access_key: str) -> Credentials | None:
        """The credentials of an access key this cloud issued."""
        return self._issued.get(access_key)

    def caller(self, scope: "Scope") -> Caller:
        """The caller of a signed request.

        Raises:
            AwsError: a key with the shape of a session key that this cloud did not issue or has revoked.
        """
        issued = self._issued.get(scope.access_key)
        if issued is None:
            if scope.access_key.startswith("ASIA"):
                raise AwsError(
                    "InvalidClientTokenId", "The security token included in the request is invalid.", 403
                )
            return Caller(scope.access_key)
        return Caller(scope.access_key, issued.role_arn)


@dataclass(frozen=True, slots=True)
class Scope:
    """The credential scope of a signature version 4."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...] = ()
    signature: str = ""
    presigned: bool = False


def scope_of(headers: Mapping[str, str], query: Mapping[str, list[str]]) -> Scope | None:
    """Read the credential scope from the Authorization header or a presigned query; None when unsigned.

    Raises:
        AwsError: there is one, but it is malformed.
    """
    authorization = headers.get("authorization", "")
    if authorization.startswith("AWS4-HMAC-SHA256"):
        fields = dict(
            part.strip().partition("=")[::2] for part in authorization[len("AWS4-HMAC-SHA256") :].split(",")
        )
        return _scope(
            fields.get("Credential", ""), fields.get("SignedHeaders", ""), fields.get("Signature", "")
        )
    if "X-Amz-Credential" in query:
        return _scope(
            query["X-Amz-Credential"][0],
            query.get("X-Amz-SignedHeaders", [""])[0],
            query.get("X-Amz-Signature", [""])[0],
            presigned=True,
        )
    return None


def _scope(credential: str, signed: str, signature: str, *, presigned: bool = False) -> Scope:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        raise AwsError(
            "IncompleteSignature", "Credential must have at least 5 slash-delimited elements.", 403
        )
    return Scope(
        parts[0], parts[1], parts[2], parts[3].lower(), tuple(signed.split(";")), signature, presigned
    )


def signature_of(
    secret: str,
    scope: Scope,
    *,
    method: str,
    raw_path: str,
    headers: Mapping[str, str],
    payload_hash: str,
) -> str:
    """Compute the signature version 4 that a request should carry.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    path, _, raw_query = raw_path.partition("?")
    canonical_path = path
    if scope.service != "s3":
        # Every service but S3 signs the path encoded once more than it is sent.
        canonical_path = urllib.parse.quote(path, safe="/~-_.")
    pairs = []
    for item in raw_query.split("&") if raw_query else []:
        name, _, value = item.partition("=")
        name, value = (urllib.parse.quote(urllib.parse.unquote(t), safe="~-_.") for t in (name, value))
        if name != "X-Amz-Signature":
            pairs.append((name, value))
    canonical_query = "&".join(f"{n}={v}" for n, v in sorted(pairs))
    canonical_headers = "".join(f"{n}:{' '.join(headers.get(n, '').split())}\n" for n in scope.signed_headers)
    canonical = "\n".join(
        (
            method,
            canonical_path,
            canonical_query,
            canonical_headers,
            ";".join(scope.signed_headers),
            payload_hash,
        )
    )
    stamp = headers.get("x-amz-date", "")
    if scope.presigned:
        stamp = dict(pairs).get("X-Amz-Date", "")
    to_sign = "\n".join(
        (
            "AWS4-HMAC-SHA256",
            stamp,
            f"{scope.date}/{scope.region}/{scope.service}/aws4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        )
    )
    key = f"AWS4{secret}".encode()
    for part in (scope.date, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()
