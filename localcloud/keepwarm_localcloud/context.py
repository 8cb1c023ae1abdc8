"""The shape every AWS service of the embedded cloud has.

The front server parses HTTP, finds out which service is meant and who calls, asks IAM, and hands a `Request` to
the service. A service that answers `None` leaves the request to moto, which is the base under everything.
"""

from typing import TYPE_CHECKING, Protocol

from keepwarm_localcloud.request import Request, Response

if TYPE_CHECKING:
    from keepwarm_localcloud.cloud import Cloud


class Service(Protocol):
    """One AWS service of the embedded cloud."""

    name: str

    def start(self, cloud: "Cloud") -> None:
        """Attach to the cloud: keep a reference, start threads. Called once, before the first request."""
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
