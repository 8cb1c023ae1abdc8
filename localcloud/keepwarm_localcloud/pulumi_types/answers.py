"""What AWS's errors mean: which say that a resource is gone, and which leave it open."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from keepwarm_localcloud.pulumi_types.errors import NotFound

T = TypeVar("T")


def error_code(error: BaseException) -> str:
    """AWS's error code of a botocore ClientError, or ''."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return str(response.get("Error", {}).get("Code", ""))
    return ""


def unanswered(error: BaseException) -> bool:
    """Whether the cloud may have done what failed here: an answer was lost on the way, perhaps before a repetition."""
    from botocore.exceptions import ClientError, HTTPClientError

    if isinstance(error, HTTPClientError):
        return True
    if not isinstance(error, ClientError):
        return False
    told = error.response.get("ResponseMetadata", {})
    return int(told.get("HTTPStatusCode", 0)) >= 500 or int(told.get("RetryAttempts", 0)) > 0


GONE = frozenset(
    {
        "ResourceNotFoundException",
        "ResourceNotFound",
        "NoSuchEntity",
        "NoSuchBucket",
        "NoSuchKey",
        "404",
        "NotFoundException",
        "NotFound",
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "com.amazonaws.sqs#QueueDoesNotExist",
        "StateMachineDoesNotExist",
        "ClusterNotFoundException",
        "ServiceNotFoundException",
        "ServiceNotActiveException",
        "ObjectNotFoundException",
        "NamespaceNotFound",
        "ServiceNotFound",
        "ParameterNotFound",
        "RepositoryNotFoundException",
        "LifecyclePolicyNotFoundException",
        "ProvisionedConcurrencyConfigNotFoundException",
        "NoSuchBucketPolicy",
        "NoSuchPublicAccessBlockConfiguration",
        "NoSuchLifecycleConfiguration",
        "NoSuchCORSConfiguration",
        "OwnershipControlsNotFoundError",
        "ServerSideEncryptionConfigurationNotFoundError",
        "ObjectLockConfigurationNotFoundError",
        "InvalidVpcID.NotFound",
        "InvalidSubnetID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidGroupId.NotFound",
        "InvalidSecurityGroupRuleId.NotFound",
        "InvalidPermission.NotFound",
        "InvalidRouteTableID.NotFound",
        "InvalidRoute.NotFound",
        "InvalidAssociationID.NotFound",
        "InvalidInternetGatewayID.NotFound",
        "NatGatewayNotFound",
        "InvalidVpcEndpointId.NotFound",
        "InvalidAllocationID.NotFound",
        "InvalidFlowLogId.NotFound",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.NotFoundException",
        "InvalidLaunchTemplateName.NotFoundException",
        "AlarmNotFound",
        "DashboardNotFoundError",
    }
)
"""Error codes that mean that a resource does not exist."""


def unless_gone(call: Callable[[], T]) -> T | None:
    """Call; None when AWS says that the resource does not exist."""
    try:
        return call()
    except NotFound:
        return None
    except Exception as error:
        if error_code(error) in GONE:
            return None
        raise
