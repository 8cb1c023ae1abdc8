"""STS: who am I, and sessions of roles; without moto, because it is the first thing every program asks."""

import urllib.parse
from datetime import UTC, datetime
from typing import Final

from keepwarm_localcloud.request import AwsError, Request, Response, escape, request_id
from keepwarm_localcloud.services.context import Context

_NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"
DEFAULT_SESSION_S: Final = 3_600
"""https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"""


class StsService:
    """AssumeRole and GetCallerIdentity; moto answers the rest."""

    name = "sts"

    def __init__(self) -> None:
        self._context: Context | None = None

    def start(self, context: Context) -> None:
        """Attach."""
        self._context = context

    def stop(self) -> None:
        """Nothing was started."""

    def inventory(self) -> dict[str, list[str]]:
        """Sessions are not resources."""
        return {}

    def handle(self, request: Request) -> Response | None:
        """Answer the two operations of this service."""
        form = urllib.parse.parse_qs(request.body.decode("utf-8", "replace")) or request.query
        action = form.get("Action", [""])[0]
        if action == "GetCallerIdentity":
            return self._identity(request)
        if action == "AssumeRole":
            return self._assume(form)
        return None

    def _identity(self, request: Request) -> Response:
        assert self._context is not None
        issued = self._context.credentials.find(request.caller.access_key)
        account = self._context.account_id
        arn = issued.assumed_role_arn if issued else f"arn:aws:iam::{account}:user/operator"
        user = f"{issued.access_key_id}:{issued.session_name}" if issued else "AIDAKEEPWARMOPERATOR"
        return _answer(
            "GetCallerIdentity",
            f"<Arn>{escape(arn)}</Arn><UserId>{user}</UserId><Account>{account}</Account>",
        )

    def _assume(self, form: dict[str, list[str]]) -> Response:
        assert self._context is not None
        role_arn = form.get("RoleArn", [""])[0]
        session = form.get("RoleSessionName", [""])[0]
        if not role_arn or not session:
            raise AwsError("ValidationError", "RoleArn and RoleSessionName must be given")
        with self._context.moto.lock("iam"):
            known = any(r.arn == role_arn for r in self._context.moto.backend("iam").roles.values())
        if not known:
            raise AwsError(
                "AccessDenied",
                f"User: arn:aws:iam::{self._context.account_id}:user/operator is not authorized to perform: "
                f"sts:AssumeRole on resource: {role_arn}",
                403,
            )
        issued = self._context.credentials.issue(role_arn, session)
        seconds = int(form.get("DurationSeconds", [str(DEFAULT_SESSION_S)])[0])
        end = datetime.fromtimestamp(self._context.clock.now_s() + seconds, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        return _answer(
            "AssumeRole",
            f"<Credentials><AccessKeyId>{issued.access_key_id}</AccessKeyId><SecretAccessKey>{issued.secret_access_key}"
            f"</SecretAccessKey><SessionToken>{issued.session_token}</SessionToken><Expiration>{end}</Expiration>"
            f"</Credentials><AssumedRoleUser><Arn>{escape(issued.assumed_role_arn)}</Arn><AssumedRoleId>"
            f"{issued.access_key_id}:{escape(session)}</AssumedRoleId></AssumedRoleUser>",
        )


def _answer(action: str, content: str) -> Response:
    text = (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{content}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request_id()}</RequestId></ResponseMetadata></{action}Response>"
    )
    return Response(200, {"Content-Type": "text/xml"}, text.encode())
