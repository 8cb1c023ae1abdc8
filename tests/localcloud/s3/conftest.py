"""An S3 with its clock, and buckets of each kind."""

from collections.abc import Iterator
from typing import Any

import pytest

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.s3 import S3Service
from keepwarm_localcloud.services.sqs import SqsService
from tests.support.s3 import ACCOUNT, NUMBERS


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def cloud(clock: ManualClock) -> Iterator[Cloud]:
    services = [S3Service(), SqsService()]
    with Cloud(CloudSettings(account_id=ACCOUNT, clock=clock), services=services) as cloud:  # type: ignore[arg-type]
        yield cloud


@pytest.fixture
def s3(cloud: Cloud) -> Any:
    return cloud.boto("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"bucket-{next(NUMBERS)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.fixture
def locked(s3: Any) -> str:
    name = f"locked-{next(NUMBERS)}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name
