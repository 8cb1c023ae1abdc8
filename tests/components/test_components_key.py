"""EncryptionKey: who may use it, and that components stop asking for its policy.

Not proved: that KMS lets each service in; the statements follow the AWS pages that `key_statements` names.
"""

import json

import pulumi
import pytest

import keepwarm as kw
from tests.support.deployed import DEFAULT_VPC, deploy, refusal
from tests.support.samples import IMAGE

KEY = "aws:kms/key:Key"


def test_given_a_key_then_only_the_account_and_named_services_may_use_it() -> None:
    seen = deploy(lambda: kw.EncryptionKey("data", {}))
    key = seen.one(KEY, "data-key")
    assert (key["enableKeyRotation"], key["deletionWindowInDays"]) == (True, 30)
    assert seen.told(KEY, "data-key").retained
    statements = {s["Sid"]: s for s in json.loads(key["policy"])["Statement"]}
    assert {sid: s["Principal"] for sid, s in statements.items()} == {
        "Account": {"AWS": "arn:aws:iam::111122223333:root"},
        "Logs": {"Service": "logs.eu-west-1.amazonaws.com"},
        "Intake": {"Service": "s3.amazonaws.com"},
        "Alarms": {"Service": "cloudwatch.amazonaws.com"},
    }
    assert all("Condition" in s for sid, s in statements.items() if sid != "Account")


def test_given_volumes_then_auto_scaling_may_grant_for_aws_resources_only() -> None:
    key = deploy(lambda: kw.EncryptionKey("data", {"auto_scaling": True})).one(KEY, "data-key")
    (grant,) = [s for s in json.loads(key["policy"])["Statement"] if s["Action"] == "kms:CreateGrant"]
    assert grant["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    assert grant["Principal"]["AWS"].endswith(
        ":role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    )


def test_given_our_own_key_then_no_component_asks_for_its_policy() -> None:
    warned: list[str] = []

    def service(key: pulumi.Input[str]) -> None:
        kw.GpuService("g", {"image": IMAGE, "kms_key_arn": key, "network_path": kw.NetworkPath.NAT})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pulumi.log, "warn", warned.append)
        deploy(lambda: service(kw.EncryptionKey("data", {"auto_scaling": True}).arn), lookups=DEFAULT_VPC)
        assert warned == []
        deploy(lambda: service("arn:aws:kms:eu-west-1:111122223333:key/k"), lookups=DEFAULT_VPC)
    assert [line.split(" ")[0] for line in warned] == ["KW159"]


def test_given_a_window_kms_refuses_then_so_do_we() -> None:
    assert refusal(lambda: kw.EncryptionKey("data", {"deletion_window_days": 6})) == (
        "KW131 EncryptionKey 'data' deletion_window_days: got 6; allowed a whole number, 7 to 30 days; because KMS "
        "waits no shorter and no longer; fix: set deletion_window_days within the range"
    )
