"""Calls that a service makes with somebody's role: the same endpoint, the same IAM check, the same refusals."""

import json
import threading
from typing import Any

from keepwarm_localcloud.ports import Invocation
from keepwarm_localcloud.request import Caller
from keepwarm_localcloud.services.context import Context


def client_error() -> Any:
    """`botocore.exceptions.ClientError`, imported when it is needed: botocore costs a third of a second."""
    from botocore.exceptions import ClientError

    return ClientError


def botocore_error() -> Any:
    """`botocore.exceptions.BotoCoreError`, imported when it is needed."""
    from botocore.exceptions import BotoCoreError

    return BotoCoreError


def trusts(context: Context, role_arn: str, principal: str) -> bool:
    """Whether a role exists and lets a service assume it.

    Args:
        context: Of the cloud that has the role.
        role_arn: The role.
        principal: Such as `states.amazonaws.com`.
    """
    with context.moto.lock("iam"):
        role = next((r for r in context.moto.backend("iam").roles.values() if r.arn == role_arn), None)
        if role is None:
            return False
        document = role.assume_role_policy_document
    policy = json.loads(document) if isinstance(document, str) else document
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        services = statement.get("Principal", {})
        services = services.get("Service", []) if isinstance(services, dict) else []
        if statement.get("Effect") == "Allow" and principal in (
            [services] if isinstance(services, str) else services
        ):
            return True
    return False


class RoleCalls:
    """boto3 clients per role and service, made once; sessions of a role are the cloud's own."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self._callers: dict[str, Caller] = {}
        self._sessions: dict[str, Any] = {}

    def caller(self, role_arn: str) -> Caller:
        """The identity that a session of this role has."""
        self._session(role_arn)
        return self._callers[role_arn]

    def _session(self, role_arn: str) -> Any:
        with self._lock:
            session = self._sessions.get(role_arn)
            if session is None:
                import boto3

                keys = self._context.credentials.issue(role_arn, "keepwarm-service")
                session = boto3.session.Session(
                    aws_access_key_id=keys.access_key_id,
                    aws_secret_access_key=keys.secret_access_key,
                    aws_session_token=keys.session_token,
                    region_name=self._context.region,
                )
                self._sessions[role_arn] = session
                self._callers[role_arn] = Caller(keys.access_key_id, role_arn)
        return session

    def client(self, role_arn: str, service: str) -> Any:
        """boto3 client of the cloud's endpoint with a session of the role. Not retried: AWS's services retry by
        their own rules, which the caller models."""
        session = self._session(role_arn)
        with self._lock:
            client = self._clients.get((role_arn, service))
            if client is None:
                from botocore.config import Config

                client = session.client(
                    service,
                    endpoint_url=self._context.endpoint,
                    config=Config(
                        retries={"total_max_attempts": 1},
                        max_pool_connections=64,
                        read_timeout=900,
                        inject_host_prefix=False,
                        s3={"addressing_style": "path"},
                    ),
                )
                self._clients[(role_arn, service)] = client
        return client

    def authorize(self, role_arn: str, action: str, resource: str) -> None:
        """Check one action of the role.

        Raises:
            AwsError: `AccessDenied`, as AWS words it.
        """
        self._context.authorize(self.caller(role_arn), action, resource)

    def function(self, role_arn: str, name: str, payload: bytes, kind: str) -> Invocation:
        """Invoke a function as the role, without a detour over HTTP.

        Raises:
            AwsError: what the Lambda service or IAM refuses.
        """
        arn = self.function_arn(name)
        self.authorize(role_arn, "lambda:InvokeFunction", arn)
        return self._context.peers.functions.invoke(arn, payload, kind=kind, caller=self.caller(role_arn))

    def function_arn(self, name: str) -> str:
        """Complete a function name to its ARN; a qualifier stays."""
        if name.startswith("arn:"):
            return name
        return f"arn:aws:lambda:{self._context.region}:{self._context.account_id}:function:{name}"

    def close(self) -> None:
        """Drop every client and session."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
            self._sessions.clear()
            self._callers.clear()
