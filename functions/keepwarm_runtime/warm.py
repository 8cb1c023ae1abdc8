"""What one execution environment keeps warm: clients, ledger, permits and models, each made when first asked for.

    model = WARM.model()          # while the environment starts: fetched, verified, pinned
    effects = WARM.effects()      # inside a handler

Nothing is made at import, so a function pays for what it uses.
"""

from __future__ import annotations

import os

from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from keepwarm_runtime.admission import Admission
    from keepwarm_runtime.aws import S3, Aws
    from keepwarm_runtime.effects import Effects
    from keepwarm_runtime.models.cache import CachedModel, ModelCache
    from keepwarm_runtime.models.registry import Registry
    from keepwarm_runtime.secrets import Secrets
    from keepwarm_runtime.service_client import ServiceClient

INIT_DEADLINE_S = 840.0
"""Time for a model to arrive while an environment starts, in seconds: provisioned environments may take as long as the
function's timeout, which is 900 s at most, and the answer needs some of it."""


class Warm:
    """The collaborators of a handler, made once."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self._made: dict[str, Any] = {}
        self._models: dict[str, CachedModel] = {}

    @property
    def settings(self) -> Settings:
        """Settings of this function.

        Raises:
            InvalidSettings: KW300, every problem in one text.
        """
        if "settings" not in self._made:
            self._made["settings"] = Settings.from_env(self._env)
        made: Settings = self._made["settings"]
        return made

    def aws(self) -> Aws:
        """Return the AWS client."""
        if "aws" not in self._made:
            from keepwarm_runtime.aws import Aws
            from keepwarm_runtime.snapshot import on_restore

            self._made["aws"] = Aws(env=self._env)
            on_restore("aws", self._made["aws"].forget)
        made: Aws = self._made["aws"]
        return made

    def s3(self) -> S3:
        """Return the S3 client."""
        if "s3" not in self._made:
            from keepwarm_runtime.aws import S3

            self._made["s3"] = S3(self.aws())
        made: S3 = self._made["s3"]
        return made

    def registry(self) -> Registry:
        """Return the model registry (KEEPWARM_MODEL_BUCKET)."""
        from keepwarm_runtime.models.registry import Registry

        signers = self.settings.trusted_signers
        trust = None
        if signers:
            from keepwarm_runtime.models.signing import Trust

            trust = Trust(self.aws(), [arn.strip() for arn in signers.split(",")])
        return Registry(self.s3(), self.settings.need("model_bucket"), trust=trust)

    def cache(self) -> ModelCache:
        """Return this host's model cache (KEEPWARM_CACHE_DIR)."""
        if "cache" not in self._made:
            from keepwarm_runtime.models.cache import ModelCache

            self._made["cache"] = ModelCache(self.settings.cache_dir, self.registry())
        made: ModelCache = self._made["cache"]
        return made

    def model(self, ref: str | None = None, *, deadline: Deadline | None = None) -> CachedModel:
        """Return a verified model, by default the one of KEEPWARM_MODEL_REF; asked again, the same object.

        Raises:
            ModelFault: one of its kinds (KW4xx).
        """
        wanted = ref or self.settings.need("model_ref")
        model = self._models.get(wanted)
        if model is None:
            from keepwarm_runtime.snapshot import on_restore

            model = self.cache().open(wanted, deadline=deadline or Deadline.after(INIT_DEADLINE_S))
            self._models[wanted] = model
            on_restore(f"model {wanted}", model.check)
        return model

    def secrets(self) -> Secrets:
        """Return the secrets that this function may read."""
        if "secrets" not in self._made:
            from keepwarm_runtime.secrets import Secrets
            from keepwarm_runtime.snapshot import on_restore

            self._made["secrets"] = Secrets(self.aws())
            on_restore("secrets", self._made["secrets"].forget)
        made: Secrets = self._made["secrets"]
        return made

    def effects(self) -> Effects:
        """Return the effect ledger (KEEPWARM_LEDGER_TABLE, KEEPWARM_CLAIM_BUCKET)."""
        if "effects" not in self._made:
            from keepwarm_runtime.effects import Claims, Effects
            from keepwarm_runtime.ledger import DynamoStore

            bucket = self.settings.claim_bucket
            claims = Claims(self.s3(), bucket) if bucket else None
            store = DynamoStore(self.aws(), self.settings.need("ledger_table"))
            self._made["effects"] = Effects(
                store, claims=claims, retention_s=self.settings.ledger_retention_s
            )
        made: Effects = self._made["effects"]
        return made

    def admission(self) -> Admission:
        """Return the permit pool (KEEPWARM_ADMISSION_TABLE, _POOL, _PERMITS)."""
        if "admission" not in self._made:
            from keepwarm_runtime.admission import Admission

            self._made["admission"] = Admission(
                self.aws(),
                self.settings.need("admission_table"),
                pool=self.settings.admission_pool,
                permits=self.settings.admission_permits,
                service=self.settings.service_name or "",
                hold_s=self.settings.permit_hold_s,
                wait_s=self.settings.permit_wait_s,
            )
        made: Admission = self._made["admission"]
        return made

    def service(self) -> ServiceClient:
        """Return the client of the model service (KEEPWARM_SERVICE_NAMESPACE, KEEPWARM_SERVICE_NAME)."""
        if "service" not in self._made:
            from keepwarm_runtime.service_client import ServiceClient
            from keepwarm_runtime.snapshot import on_restore

            client = ServiceClient(
                self.aws(), self.settings.need("service_namespace"), self.settings.need("service_name")
            )
            self._made["service"] = client
            on_restore("service", client.forget)
        made: ServiceClient = self._made["service"]
        return made

    def park(self, *, reason: str, code: str, body: str, deadline: Deadline | None = None) -> str:
        """Send work that can never succeed to KEEPWARM_DEAD_LETTER_URL and return the message id.

        The message carries the attributes `reason` and `code`. A repeated request may send it twice, which the
        person who reads the queue can see; losing it nobody could.
        """
        text = " ".join(reason.split())[:1024] or "unknown"
        answer = self.aws().call(
            "sqs",
            "SendMessage",
            {
                "QueueUrl": self.settings.need("dead_letter_url"),
                "MessageBody": body,
                "MessageAttributes": {
                    "reason": {"DataType": "String", "StringValue": text},
                    "code": {"DataType": "String", "StringValue": code or "unknown"},
                },
            },
            deadline=deadline,
            idempotent=True,
            resource=self.settings.need("dead_letter_url"),
        )
        return str(answer.get("MessageId", ""))


WARM = Warm()
"""This environment's."""
