"""One fake AWS per test, and clients that talk to it."""

from collections.abc import Iterator

import pytest

from keepwarm_runtime.aws import S3, Aws
from tests.support.fake_aws import FakeAws, fake_aws


@pytest.fixture
def fake() -> Iterator[FakeAws]:
    with fake_aws() as running:
        yield running


@pytest.fixture
def aws(fake: FakeAws) -> Iterator[Aws]:
    client = Aws(env=fake.env, draw=lambda: 0.0)
    yield client
    client.forget()


@pytest.fixture
def s3(aws: Aws) -> S3:
    return S3(aws)
