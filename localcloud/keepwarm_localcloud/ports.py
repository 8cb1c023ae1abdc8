"""What the services of one cloud may ask of each other: by what they do, not by who they are.

A service is handed `Peers` with its context. Each port names the few operations that others need, so a reader sees
here everything that crosses between two services, and no service imports another one's code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from keepwarm_localcloud.errors import LocalCloudError
from keepwarm_localcloud.request import Caller


class Received(Protocol):
    """A message of a queue as a consumer receives it."""

    @property
    def message_id(self) -> str:
        """Identifier of the message."""
        ...

    @property
    def receipt_handle(self) -> str:
        """What deletes it."""
        ...

    @property
    def body(self) -> str:
        """The text."""
        ...

    @property
    def md5(self) -> str:
        """MD5 of the body."""
        ...

    @property
    def md5_of_attributes(self) -> str | None:
        """MD5 of the sender's attributes; None without any."""
        ...

    @property
    def attributes(self) -> dict[str, str]:
        """System attributes: SentTimestamp, ApproximateReceiveCount, MessageGroupId, ..."""
        ...

    @property
    def message_attributes(self) -> dict[str, dict[str, Any]]:
        """Attributes the sender gave, in the shape of the API."""
        ...

    @property
    def receive_count(self) -> int:
        """How often it was received, this time included."""
        ...

    @property
    def sent_at_s(self) -> float:
        """When it was sent, in seconds since the epoch."""
        ...


class QueuesPort(Protocol):
    """SQS, for event source mappings, deliveries and IAM."""

    def exists(self, arn: str) -> bool:
        """Tell whether a queue exists."""
        ...

    def attributes(self, queue_arn: str) -> dict[str, str]:
        """Every attribute of a queue, as GetQueueAttributes gives them."""
        ...

    def policy_text(self, queue_arn: str) -> str | None:
        """The access policy of a queue as it was set; None without one."""
        ...

    def send(self, queue_arn: str, body: str) -> str:
        """Send a message; gives its id."""
        ...

    def receive(
        self,
        queue_arn: str,
        max_messages: int,
        *,
        wait_s: float = 0,
        visibility_s: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Sequence[Received]:
        """Receive up to `max_messages`, waiting up to `wait_s` of the clock for the first."""
        ...

    def wake(self, queue_arn: str) -> None:
        """Let receives that wait on a queue look at their `cancelled`; nothing happens without the queue."""
        ...

    def delete(self, queue_arn: str, receipt_handle: str) -> None:
        """Delete a received message."""
        ...


class BucketsPort(Protocol):
    """S3, for IAM."""

    def policy(self, bucket: str) -> Any:
        """The policy of a bucket, as text or parsed; None without one."""
        ...


class Invocation(Protocol):
    """What a function answered."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def payload(self) -> bytes:
        """What it returned, or the error; JSON."""
        ...

    @property
    def function_error(self) -> str:
        """`Unhandled` when the function failed, else empty."""
        ...

    @property
    def executed_version(self) -> str:
        """Version that ran."""
        ...


class FunctionsPort(Protocol):
    """Lambda, for whoever invokes functions or sends them events."""

    def invoke(
        self,
        function_ref: str,
        payload: bytes,
        *,
        qualifier: str | None = None,
        kind: str = "RequestResponse",
        source_arn: str | None = None,
        caller: Caller | None = None,
    ) -> Invocation:
        """Invoke a function; who may do so is for the caller to have checked (`Context.authorize`)."""
        ...

    def deliver(
        self,
        function_arn: str,
        payload: bytes,
        *,
        principal: str,
        source_arn: str,
        source_account: str | None = None,
    ) -> str:
        """Invoke asynchronously for another service after asking the function's resource policy."""
        ...

    def check_permission(
        self, function_arn: str, *, principal: str, source_arn: str, source_account: str | None = None
    ) -> None:
        """Refuse a service that the resource policy of a function does not let in."""
        ...


class TasksPort(Protocol):
    """ECS, for Step Functions and Application Auto Scaling."""

    def follow(self, arn: str, then: Callable[[dict[str, Any]], None]) -> None:
        """Call `then` with the description once a task is stopped; at once if it is."""
        ...

    def stop_task_by_arn(self, arn: str, reason: str) -> None:
        """Stop a task that may be gone."""
        ...

    def desired(self, cluster: str, name: str) -> int:
        """Desired count of a service."""
        ...

    def set_desired(self, cluster: str, name: str, count: int) -> None:
        """Set the desired count of a service, as autoscaling does."""
        ...


class RegistryPort(Protocol):
    """AWS Cloud Map, for the tasks of ECS."""

    def has_service(self, identity: str) -> bool:
        """Tell whether a service of the registry exists."""
        ...

    def register(self, service_ref: str, instance_id: str, attributes: dict[str, str]) -> None:
        """Add an instance to a service."""
        ...

    def deregister(self, service_ref: str, instance_id: str) -> None:
        """Take an instance out of a service."""
        ...


@dataclass(frozen=True, slots=True)
class Peers:
    """Looks services up by port."""

    running: Mapping[str, object]
    """Signing name -> service; filled when the cloud starts."""

    def __contains__(self, name: str) -> bool:
        """Tell whether the cloud runs a service itself; moto answers for the others."""
        return name in self.running

    def of(self, name: str) -> object:
        """The service with a signing name.

        Raises:
            LocalCloudError: KW604 this cloud runs no such service.
        """
        service = self.running.get(name)
        if service is None:
            raise LocalCloudError(
                "KW604",
                "localcloud service",
                got=name,
                allowed=", ".join(sorted(self.running)),
                because="this cloud was started without it",
                fix="leave `services` out to get all of them",
            )
        return service

    @property
    def queues(self) -> QueuesPort:
        """SQS."""
        return cast("QueuesPort", self.of("sqs"))

    @property
    def buckets(self) -> BucketsPort:
        """S3."""
        return cast("BucketsPort", self.of("s3"))

    @property
    def functions(self) -> FunctionsPort:
        """Lambda."""
        return cast("FunctionsPort", self.of("lambda"))

    @property
    def tasks(self) -> TasksPort:
        """ECS."""
        return cast("TasksPort", self.of("ecs"))

    @property
    def registry(self) -> RegistryPort:
        """AWS Cloud Map."""
        return cast("RegistryPort", self.of("servicediscovery"))
