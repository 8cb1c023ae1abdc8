"""IAM of the embedded cloud."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from keepwarm_localcloud.service import AwsError, Request

if TYPE_CHECKING:
    from keepwarm_localcloud.cloud import Cloud


class Iam:
    """Decide what role sessions and service principals may do."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def check(self, request: Request) -> None:
        """Refuse a request its caller may not make.

        Raises:
            AwsError: AccessDenied, worded as the service does.
        """

    def allowed(
        self, principal: str, action: str, resource: str, context: Mapping[str, str | list[str]] | None = None
    ) -> bool:
        """Say whether a role ARN or a service principal may do `action` on `resource`."""
        return True

    def authorize(
        self, principal: str, action: str, resource: str, context: Mapping[str, str | list[str]] | None = None
    ) -> None:
        """Like `allowed`, but refuse.

        Raises:
            AwsError: AccessDenied.
        """
        if not self.allowed(principal, action, resource, context):
            raise AwsError(
                "AccessDenied",
                f"User: {principal} is not authorized to perform: {action} on resource: {resource}",
                403,
            )
