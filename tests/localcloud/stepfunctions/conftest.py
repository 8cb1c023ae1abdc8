"""Step Functions alone, for each module once."""

from collections.abc import Iterator

import pytest

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.stepfunctions import StepFunctionsService
from tests.support.workflows import Flow


@pytest.fixture(scope="module")
def flow() -> Iterator[Flow]:
    clock, service = ManualClock(), StepFunctionsService()
    with Cloud(CloudSettings(clock=clock, account_id="123456789021"), [service]) as cloud:
        yield Flow(cloud, service, clock)
