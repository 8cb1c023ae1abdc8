"""What a service of the embedded cloud is, and what it is given to work with.

The front server parses HTTP, finds out which service is meant and who calls, asks IAM, and hands a `Request` to
the service. A service that answers `None` leaves the request to moto, which is the base under everything.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.iam.actions import Names
from keepwarm_localcloud.iam.authorization import Iam
from keepwarm_localcloud.iam.credentials import CredentialStore
from keepwarm_localcloud.journal import Journal
from keepwarm_localcloud.moto.base import Moto
from keepwarm_localcloud.ports import Peers
from keepwarm_localcloud.processes import Processes
from keepwarm_localcloud.request import AwsError, Caller, Request, Response
from keepwarm_localcloud.services.logs.log_writer import Logs


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a service knows of the cloud it runs in; made when the cloud starts."""

    account_id: str
    region: str
    endpoint: str
    """URL of the cloud for whatever a service starts."""
    directory: Path
    """Folder of the cloud; each service works in a subfolder of its own name."""
    clock: Clock
    """Everything that waits or stamps asks it, never the machine."""
    journal: Journal
    """What happened, for the live view and the tests."""
    logs: Logs
    """CloudWatch Logs and metrics."""
    iam: Iam
    credentials: CredentialStore
    names: Names
    """ARNs of this account and region."""
    moto: Moto
    """moto's backends; hold `moto.lock(service)` for compound changes."""
    processes: Processes
    """Starter and killer of child processes."""
    peers: Peers
    """The other services."""
    boto: Callable[[str], Any]
    """A boto3 client of this cloud with the operator's credentials, by service."""
    account_concurrency: int
    """Concurrent executions of the account."""
    code_cache: Path | None
    """Folder that keeps unzipped function packages between clouds."""
    image_mirrors: dict[str, str]
    """Image repository -> local image directory that stands for it."""

    def authorize(
        self, caller: Caller, action: str, resource: str, context: Mapping[str, str | list[str]] | None = None
    ) -> None:
        """Refuse what a caller may not do; the operator may do everything.

        Args:
            caller: Who acts.
            action: Such as `sqs:ReceiveMessage`.
            resource: ARN it acts on.
            context: Condition keys of the request.

        Raises:
            AwsError: AccessDenied.
        """
        if caller.role_arn is not None:
            self.iam.authorize(caller.role_arn, action, resource, context)

    def deliver(self, target_arn: str, payload: dict[str, Any], source_arn: str) -> None:
        """Hand an event from one service to another as AWS does: queue, function or topic.

        Args:
            target_arn: Where it goes.
            payload: The event; JSON.
            source_arn: Resource that caused it; its service is the principal that must be allowed there.

        Raises:
            AwsError: the target does not exist or does not let the source in.
        """
        service = target_arn.split(":")[2] if target_arn.count(":") >= 5 else ""
        body = json.dumps(payload)
        principal = f"{source_arn.split(':')[2]}.amazonaws.com"
        if service == "sqs":
            context = {"aws:SourceArn": source_arn, "aws:SourceAccount": self.account_id}
            self.iam.authorize(principal, "sqs:SendMessage", target_arn, context)
            self.peers.queues.send(target_arn, body)
        elif service == "lambda":
            if principal == "cloudwatch.amazonaws.com":
                # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
                principal = "lambda.alarms.cloudwatch.amazonaws.com"
            self.peers.functions.deliver(
                target_arn,
                body.encode(),
                principal=principal,
                source_arn=source_arn,
                source_account=self.account_id,
            )
        elif service == "sns":
            self.boto("sns").publish(TopicArn=target_arn, Message=body)
        else:
            raise AwsError(
                "InvalidArgument", f"The destination {target_arn} is not a queue, function or topic"
            )


class Service(Protocol):
    """One AWS service of the embedded cloud."""

    name: str

    def start(self, context: Context) -> None:
        """Keep the context, start threads. Called once, before the first request."""
        ...

    def stop(self) -> None:
        """End every thread and process this service started and remove its files. Called once, idempotent."""
        ...

    def handle(self, request: Request) -> Response | None:
        """Answer, or return None for moto to answer."""
        ...

    def inventory(self) -> dict[str, list[str]]:
        """What exists now: kind -> sorted names. Empty lists are left out. Default resources are not listed."""
        ...
