"""Scheduled scaling of a Lambda alias' provisioned concurrency, with real environments and a clock moved by hand.

Does not prove provisioned concurrency itself (test_lambda*.py).
"""

import io
import json
import sys
import zipfile

import pytest

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from tests.support.patience import until

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")


def test_given_a_schedule_on_an_alias_when_it_is_due_then_provisioned_concurrency_follows() -> None:
    clock = ManualClock(1_700_000_040.0)
    with Cloud(CloudSettings(account_id="123456789028", clock=clock)) as cloud:
        trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}]}
        role = cloud.boto("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(trust))[
            "Role"
        ]["Arn"]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("app.py", "def handler(event, context): return 1")
        functions = cloud.boto("lambda")
        functions.create_function(
            FunctionName="f", Runtime=f"python3.{sys.version_info.minor}", Role=role, Handler="app.handler",
            Code={"ZipFile": buffer.getvalue()}, Publish=True,
        )  # fmt: skip
        functions.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        scaling = cloud.boto("application-autoscaling")
        target = {
            "ServiceNamespace": "lambda", "ResourceId": "function:f:live",
            "ScalableDimension": "lambda:function:ProvisionedConcurrency",
        }  # fmt: skip
        scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=3)
        for name, minute, low, high in (("morning", 20, 2, 3), ("night", 30, 0, 0)):
            scaling.put_scheduled_action(
                ScheduledActionName=name, Schedule=f"cron({minute} 22 * * ? *)",
                ScalableTargetAction={"MinCapacity": low, "MaxCapacity": high}, **target,
            )  # fmt: skip

        def requested() -> int:
            try:
                answer = functions.get_provisioned_concurrency_config(FunctionName="f", Qualifier="live")
            except functions.exceptions.ProvisionedConcurrencyConfigNotFoundException:
                return 0
            return int(answer["RequestedProvisionedConcurrentExecutions"])

        clock.advance(6 * 60)
        until(lambda: requested() == 2)
        clock.advance(10 * 60)
        until(lambda: requested() == 0)
        scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=3)
        assert requested() == 1
