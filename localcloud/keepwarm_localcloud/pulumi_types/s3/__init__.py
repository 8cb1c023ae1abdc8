"""S3."""

from keepwarm_localcloud.pulumi_types.base import ResourceType
from keepwarm_localcloud.pulumi_types.s3.bucket import Bucket
from keepwarm_localcloud.pulumi_types.s3.configurations import (
    BucketCorsConfiguration,
    BucketLifecycleConfiguration,
    BucketLogging,
    BucketNotification,
    BucketObjectLockConfiguration,
    BucketOwnershipControls,
    BucketPolicy,
    BucketPublicAccessBlock,
    BucketServerSideEncryptionConfiguration,
    BucketVersioning,
)
from keepwarm_localcloud.pulumi_types.s3.objects import BucketObjectv2

TYPES: tuple[type[ResourceType], ...] = (
    Bucket,
    BucketVersioning,
    BucketPublicAccessBlock,
    BucketOwnershipControls,
    BucketServerSideEncryptionConfiguration,
    BucketLifecycleConfiguration,
    BucketCorsConfiguration,
    BucketPolicy,
    BucketLogging,
    BucketObjectLockConfiguration,
    BucketNotification,
    BucketObjectv2,
)
