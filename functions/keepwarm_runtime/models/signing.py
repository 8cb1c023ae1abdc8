"""Who vouches for a model: signatures over the manifest's digest, by keys that never leave KMS (R105).

The signer's key ARN is a field of the manifest, so it is part of what is pinned. The signature lies beside the manifest
(`manifests/<name>/<version>.sig`) and is checked by KMS itself: no cryptography in the function, and no key either.
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_Verify.html
"""

from __future__ import annotations

import binascii
import json

from keepwarm_runtime.errors import AwsFault, SignatureInvalid
from keepwarm_runtime.models.manifest import SCHEMA, Manifest, canonical_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from keepwarm_runtime.aws import Aws
    from keepwarm_runtime.deadline import Deadline

ALGORITHM = "ECDSA_SHA_256"
"""The one algorithm that is accepted (keys of the spec ECC_NIST_P256): a choice is a weak link."""


def signature_key(name: str, version: str) -> str:
    """Key of the signature of a manifest."""
    return f"manifests/{name}/{version}.sig"


def sign(aws: Aws, manifest: Manifest, *, deadline: Deadline | None = None) -> bytes:
    """Sign a manifest with the KMS key that it names as its signer and return the signature document.

    Raises:
        SignatureInvalid: the manifest names no signer.
        AwsFault: KMS refused.
    """
    if manifest.signer is None:
        raise SignatureInvalid(
            f"model {manifest.name} {manifest.version}", "a manifest without a signer", allowed="the ARN of a KMS key",
            fix="build it with signer=",
        )  # fmt: skip
    answer = aws.call(
        "kms", "Sign", {**_message(manifest), "KeyId": manifest.signer}, deadline=deadline, idempotent=True,
        resource=manifest.signer,
    )  # fmt: skip
    return canonical_json(
        {
            "schema": SCHEMA,
            "digest": manifest.digest,
            "signer": manifest.signer,
            "algorithm": ALGORITHM,
            "signature": answer["Signature"],
        }
    )


class Trust:
    """The signers whose models may run."""

    def __init__(self, aws: Aws, signers: Iterable[str]) -> None:
        self._aws = aws
        self.signers = tuple(signers)

    def check(self, manifest: Manifest, document: bytes | None, *, deadline: Deadline | None = None) -> None:
        """Check that a trusted signer signed this very manifest; `document` is None when there is none.

        Raises:
            SignatureInvalid: missing, by somebody else, for another manifest, or wrong.
        """
        who = f"model {manifest.name} {manifest.version}"
        trusted = ", ".join(self.signers)
        if manifest.signer is None or document is None:
            raise SignatureInvalid(
                who, "no signature", allowed=f"one by {trusted}", because="this function trusts no other"
            )
        if manifest.signer not in self.signers:
            raise SignatureInvalid(
                who, f"the signer {manifest.signer}", allowed=trusted, because="this function trusts no other"
            )
        fields = _fields(who, document)
        expected = {
            "schema": SCHEMA,
            "digest": manifest.digest,
            "signer": manifest.signer,
            "algorithm": ALGORITHM,
        }
        for name, value in expected.items():
            if fields.get(name) != value:
                raise SignatureInvalid(
                    f"{who} signature", f"{name} {fields.get(name)!r}", allowed=repr(value)
                )
        try:
            answer = self._aws.call(
                "kms",
                "Verify",
                {**_message(manifest), "KeyId": manifest.signer, "Signature": fields.get("signature")},
                deadline=deadline,
                resource=manifest.signer,
            )
        except AwsFault as error:
            if error.aws_code in (
                "KMSInvalidSignatureException",
                "KMSInvalidSignature",
                "ValidationException",
            ):
                raise SignatureInvalid(
                    f"{who} signature", error.aws_code, because="KMS does not confirm it"
                ) from error
            raise
        if answer.get("SignatureValid") is not True:
            raise SignatureInvalid(
                f"{who} signature", "SignatureValid false", because="KMS does not confirm it"
            )


def _message(manifest: Manifest) -> dict[str, str]:
    digest = binascii.b2a_base64(bytes.fromhex(manifest.digest), newline=False).decode()
    return {"Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": ALGORITHM}


def _fields(who: str, document: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise SignatureInvalid(
            f"{who} signature", f"no JSON ({error})", allowed="a signature document"
        ) from error
    if not isinstance(fields, dict):
        raise SignatureInvalid(
            f"{who} signature", f"a JSON {type(fields).__name__}", allowed="a signature document"
        )
    return fields
