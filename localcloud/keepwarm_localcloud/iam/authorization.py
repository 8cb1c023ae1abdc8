"""IAM of the embedded cloud: what role sessions and service principals may do.

Identity policies (inline and attached, AWS-managed included) and permission boundaries come from moto's IAM, where
Pulumi put them; bucket, queue and key policies from the services. An explicit deny wins; no allow is a refusal.
docs/localcloud.md says how far it goes.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.iam.actions import Ask, AsksOf, Names, asks_of, refusal
from keepwarm_localcloud.iam.credentials import CredentialStore
from keepwarm_localcloud.iam.policy import (
    Context,
    Principal,
    applies,
    effect_of,
    names_directly,
    statements_of,
)
from keepwarm_localcloud.journal import Journal
from keepwarm_localcloud.request import Request

_NO_IDENTITY: Final = "no identity-based policy allows the {action} action"
_NO_RESOURCE: Final = "no resource-based policy allows the {action} action"


class Iam:
    """Decide what role sessions and service principals may do."""

    def __init__(
        self,
        names: Names,
        credentials: CredentialStore,
        clock: Clock,
        journal: Journal,
        *,
        asks_of_service: Callable[[str], AsksOf | None] = lambda service: None,
    ) -> None:
        """Set up.

        Args:
            names: Of the account and region, with the services that hold policies.
            credentials: Sessions of roles.
            clock: For the condition keys of time.
            journal: Told of every refusal.
            asks_of_service: What a service asks for its requests, by signing name; None for one that moto answers.
        """
        self._names, self._credentials, self._clock, self._journal = names, credentials, clock, journal
        self._moto, self._peers = names.moto, names.peers
        self._asks_of_service = asks_of_service

    def check(self, request: Request) -> None:
        """Refuse a request its caller may not make; the operator may make all.

        Raises:
            AwsError: AccessDenied, worded as the service does.
        """
        role_arn = request.caller.role_arn
        if role_arn is None:
            return
        issued = self._credentials.find(request.caller.access_key)
        session = issued.assumed_role_arn if issued is not None else role_arn
        extra = dict(issued.context) if issued is not None else {}
        principal = Principal(role_arn, session, "", self._names.account_id)
        for ask in asks_of(request, self._names, self._asks_of_service(request.service)):
            reason = self._refused(principal, ask, extra)
            if reason is not None:
                self._journal.write(
                    "access_denied",
                    role=role_arn,
                    action=ask.action,
                    resource=ask.resources[0],
                    reason=reason,
                )
                raise refusal(request.service, _sentence(session, ask, reason))

    def allowed(
        self, principal: str, action: str, resource: str, context: Mapping[str, str | list[str]] | None = None
    ) -> bool:
        """Say whether a role ARN or a service principal may do `action` on `resource`."""
        return self._refused(self._principal(principal), Ask(action, [resource]), context or {}) is None

    def authorize(
        self, principal: str, action: str, resource: str, context: Mapping[str, str | list[str]] | None = None
    ) -> None:
        """Refuse what a role or a service may not do.

        Args:
            principal: A role ARN, or a service such as `s3.amazonaws.com`, which needs a resource policy.
            action: Such as `sqs:SendMessage`.
            resource: ARN it acts on.
            context: Condition keys beyond those every request has, such as `aws:SourceArn`.

        Raises:
            AwsError: AccessDenied.
        """
        ask = Ask(action, [resource])
        reason = self._refused(self._principal(principal), ask, context or {})
        if reason is not None:
            self._journal.write(
                "access_denied", role=principal, action=action, resource=resource, reason=reason
            )
            raise refusal("s3", _sentence(principal, ask, reason))

    def _principal(self, text: str) -> Principal:
        if text.startswith("arn:"):
            return Principal(text, text, "", self._names.account_id)
        return Principal(service=text, account=self._names.account_id)

    def _refused(self, principal: Principal, ask: Ask, extra: Mapping[str, str | list[str]]) -> str | None:
        """The reason for a refusal; None when allowed."""
        context = self._context(principal, ask, extra)
        reason: str | None = None
        for resource in ask.resources:
            reason = self._decide(principal, ask.action, resource, context)
            if reason is None or "explicit deny" in reason:
                break
        return reason

    def _decide(self, principal: Principal, action: str, resource: str, context: Context) -> str | None:
        resource_policies = self._resource_policies(resource)
        from_resource = effect_of(resource_policies, action, resource, context, principal)
        if from_resource == "Deny":
            return "with an explicit deny in a resource-based policy"
        if principal.service:
            return None if from_resource == "Allow" else _NO_RESOURCE.format(action=action)
        identity, boundary = self._identity_policies(principal.arn)
        from_identity = effect_of(identity, action, resource, context)
        if from_identity == "Deny":
            return "with an explicit deny in an identity-based policy"
        directly = from_resource == "Allow" and any(
            s["Effect"] == "Allow"
            and names_directly(s, principal)
            and applies(s, action, resource, context, principal)
            for text in resource_policies
            for s in statements_of(text)
        )
        if from_identity != "Allow" and not directly:
            return _NO_IDENTITY.format(action=action)
        # A key answers to its policy first: without the account named there, identity policies have no say.
        if resource_policies and action.startswith("kms:") and from_resource != "Allow":
            return _NO_RESOURCE.format(action=action)
        if boundary is not None and not directly:
            bounded = effect_of([boundary], action, resource, context)
            if bounded != "Allow":
                how = "with an explicit deny in" if bounded == "Deny" else "because no"
                return f"{how} permissions boundary allows the {action} action"
        return None

    def _context(self, principal: Principal, ask: Ask, extra: Mapping[str, str | list[str]]) -> Context:
        now_s = self._clock.now_s()
        context: dict[str, str | list[str]] = {
            # Loopback does not leave the machine, which is what a policy that asks for TLS wants to be sure of.
            "aws:securetransport": "true",
            "s3:tlsversion": "1.3",
            "aws:sourceip": "127.0.0.1",
            "aws:requestedregion": self._names.region,
            "aws:resourceaccount": self._names.account_id,
            "aws:currenttime": datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "aws:epochtime": str(int(now_s)),
            "aws:viaawsservice": "false",
            "aws:principalisawsservice": "true" if principal.service else "false",
        }
        if principal.service:
            context["aws:principalservicename"] = principal.service
        else:
            context["aws:principalarn"] = principal.arn
            context["aws:principalaccount"] = principal.account
            context["aws:principaltype"] = "AssumedRole"
            context["aws:userid"] = f"AROAKEEPWARM:{principal.session_arn.rpartition('/')[2]}"
        for key, value in {**ask.context, **extra}.items():
            context[key.lower()] = value
        return context

    def _identity_policies(self, role_arn: str) -> tuple[list[str], str | None]:
        """Documents of a role's policies, and of its boundary."""
        with self._moto.lock("iam"):
            backend = self._moto.backend("iam")
            role = next((r for r in backend.roles.values() if r.arn == role_arn), None)
            if role is None:
                return [], None
            documents = [_text(d) for d in role.policies.values()]
            documents += [_default_document(p) for p in role.managed_policies.values()]
            boundary = getattr(role, "permissions_boundary_arn", None) or getattr(
                role, "permissions_boundary", None
            )
            held = backend.managed_policies.get(boundary) if boundary else None
        return documents, _default_document(held) if held is not None else None

    def _resource_policies(self, resource: str) -> list[str]:
        service = resource.split(":")[2] if resource.count(":") >= 5 else ""
        found: Any = None
        if service == "s3":
            if "s3" in self._peers:
                found = self._peers.buckets.policy(resource.rpartition(":")[2].partition("/")[0])
        elif service == "sqs":
            if "sqs" in self._peers:
                found = self._peers.queues.policy_text(resource)
        elif service == "kms":
            with self._moto.lock("kms"):
                key = self._moto.backend("kms").keys.get(resource.rpartition("/")[2])
                found = key.policy if key is not None else None
        return [_text(found)] if found else []


def _default_document(policy: Any) -> str:
    """The document of a managed policy's default version."""
    return _text(next(v.document for v in policy.versions if v.version_id == policy.default_version_id))


def _text(document: Any) -> str:
    return document if isinstance(document, str) else json.dumps(document)


def _sentence(who: str, ask: Ask, reason: str) -> str:
    because = reason if reason.startswith("with ") else f"because {reason.removeprefix('because ')}"
    return f"User: {who} is not authorized to perform: {ask.action} on resource: {ask.resources[0]} {because}"
