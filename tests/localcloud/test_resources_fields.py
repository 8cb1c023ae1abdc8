"""What the table knows about properties, without a cloud: specifications, checks, comparisons, files, the wire.

Proves: every specification fits pulumi_aws, the committed facts are those of the installed SDK, wrong inputs are
refused by property with a suggestion, comparisons see what counts and nothing else, an archive's bytes depend on its
content alone, and values survive Pulumi's wire format. Does not prove what a cloud makes of them.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.assets import (
    Blob,
    archive_blob,
    entries_blob,
    file_blob,
    text_blob,
    zip_bytes,
)
from keepwarm_localcloud.pulumi_types.aws import Aws
from keepwarm_localcloud.pulumi_types.base import DEFAULTS_KEY, schema
from keepwarm_localcloud.pulumi_types.errors import CODES, ResourceError
from keepwarm_localcloud.pulumi_types.fields import UNKNOWN, Field, compile_fields, has_unknown, same
from keepwarm_localcloud.pulumi_types.wire import from_state, read_struct, to_state, write_struct

QUEUE = "aws:sqs/queue:Queue"
PARAMETER = "aws:ssm/parameter:Parameter"
VPC = "aws:ec2/vpc:Vpc"
RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
URN = f"urn:pulumi:s::p::{QUEUE}::jobs"


def check(
    token: str, inputs: dict[str, Any], old: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    checked, failures = table.check(token, f"urn:pulumi:s::p::{token}::thing", inputs, old)
    return checked, dict(failures)


def test_given_the_table_then_every_type_names_only_properties_of_pulumi_aws() -> None:
    for kind in table.all_types():
        assert set(kind.fields) <= set(schema()[kind.token]["inputs"]), kind.token
        assert set(kind.required) <= set(kind.fields), kind.token
        assert kind.import_id


def test_given_unnamed_resources_when_checked_then_named_as_pulumi_does_and_the_name_is_kept() -> None:
    first, _ = check(QUEUE, {})
    assert first["name"].startswith("thing-")
    assert len(first["name"]) == len("thing-") + 7
    assert "name" in first[DEFAULTS_KEY]
    assert check(QUEUE, {}, first)[0]["name"] == first["name"]
    assert check(QUEUE, {"fifoQueue": True})[0]["name"].endswith(".fifo")
    assert check(QUEUE, {"name": "mine"})[0][DEFAULTS_KEY].count("name") == 0
    assert (
        len(check("aws:iam/role:Role", {"assumeRolePolicy": "{}", "namePrefix": "x" * 70})[0]["name"]) <= 64
    )
    same_seed = [table.check(QUEUE, URN, {}, None, seed=b"1")[0]["name"] for _ in range(2)]
    assert same_seed[0] == same_seed[1]


@pytest.mark.parametrize(
    ("token", "inputs", "path", "reason"),
    [
        (
            QUEUE,
            {"delaySecond": 1},
            "delaySecond",
            "KW631 got an unknown property; did you mean 'delaySeconds'?",
        ),
        (QUEUE, {"delaySeconds": "soon"}, "delaySeconds", "KW632 got 'soon'; allowed a whole number"),
        (QUEUE, {"delaySeconds": 1.5}, "delaySeconds", "KW632 got 1.5; allowed a whole number"),
        (QUEUE, {"delaySeconds": True}, "delaySeconds", "KW632 got True; allowed a whole number"),
        (
            QUEUE,
            {"delaySeconds": {"a": 1}},
            "delaySeconds",
            "KW632 got an object with a; allowed a whole number",
        ),
        (QUEUE, {"fifoQueue": "yes"}, "fifoQueue", "KW632 got 'yes'; allowed true or false"),
        (QUEUE, {"tags": ["a"]}, "tags", "KW632 got a list of 1; allowed a map"),
        (QUEUE, {"name": ["a"]}, "name", "KW632 got a list of 1; allowed text"),
        (
            "aws:iam/role:Role",
            {},
            "assumeRolePolicy",
            "KW633 missing; allowed a value; because the resource cannot be made without it",
        ),
        (
            "aws:lambda/function:Function",
            {"role": "r", "handler": "h", "runtime": "python3.11"},
            "code",
            "KW634 got none of code, imageUri and s3Bucket; allowed exactly one",
        ),
        (
            "aws:lambda/function:Function",
            {"role": "r", "imageUri": "i", "packageType": "Image", "vpcConfig": {"subnetId": "s"}},
            "vpcConfig.subnetId",
            "KW631 got an unknown property; did you mean 'subnetIds'?",
        ),
        (
            "aws:lambda/function:Function",
            {"role": "r", "code": "text"},
            "code",
            "KW632 got 'text'; allowed an asset or archive",
        ),
    ],
)
def test_given_a_wrong_input_when_checked_then_property_and_reason_are_said(
    token: str, inputs: dict[str, Any], path: str, reason: str
) -> None:
    _, failures = check(token, inputs)
    assert failures[path] == reason


ROLE_INPUTS = {"assumeRolePolicy": "{}"}
ALARM = {
    "comparisonOperator": "GreaterThanThreshold",
    "evaluationPeriods": 1,
    "metricName": "m",
    "namespace": "n",
}
FUNCTION = {"role": "arn:aws:iam::123456789012:role/r", "imageUri": "i", "packageType": "Image"}
RULE_INPUTS = {"securityGroupId": "sg-1", "ipProtocol": "tcp", "cidrIpv4": "10.0.0.0/8"}
BY_AWS = "because AWS accepts nothing else"


@pytest.mark.parametrize(
    ("token", "inputs", "refused"),
    [
        (
            "aws:s3/bucket:Bucket",
            {"bucket": "b", "bucketPrefix": "b-"},
            {
                "bucket": "KW634 got bucket and bucketPrefix; allowed one of them; because each excludes the other"
            },
        ),
        (
            "aws:dynamodb/table:Table",
            {"hashKey": "id", "attributes": [{"name": "id", "type": "S"}]},
            dict.fromkeys(
                ("readCapacity", "writeCapacity"),
                "KW633 missing; allowed at least 1; because billingMode is PROVISIONED; fix: give it, or set "
                "billingMode to PAY_PER_REQUEST",
            ),
        ),
        (
            "aws:iam/role:Role",
            {**ROLE_INPUTS, "name": "r" * 65},
            {
                "name": f"KW634 got 65 characters; allowed 1 to 64 characters; {BY_AWS}",
            },
        ),
        (
            "aws:s3/bucket:Bucket",
            {"bucket": "B"},
            {
                "bucket": "KW634 got 'B'; allowed text that matches "
                f"^([a-z0-9][a-z0-9.-]*[a-z0-9])?$; {BY_AWS}"
            },
        ),
        (
            "aws:cloudwatch/logGroup:LogGroup",
            {"retentionInDays": 4},
            {
                "retentionInDays": "KW634 got 4; allowed 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, "
                f"731, 1096, 1827, 2192, 2557, 2922, 3288, 3653, 0; {BY_AWS}"
            },
        ),
        (
            "aws:cloudwatch/metricAlarm:MetricAlarm",
            {**ALARM, "period": 7},
            {
                "period": "KW634 got 7; allowed 10, 20, 30 and multiples of 60; because CloudWatch takes no other"
            },
        ),
        (
            RULE,
            {**RULE_INPUTS, "fromPort": 443, "toPort": 70000},
            {"toPort": "KW634 got 70000; allowed -1 to 65535; because ports have 16 bits"},
        ),
        (
            "aws:ec2/securityGroup:SecurityGroup",
            {"ingress": [{"protocol": "tcp", "fromPort": 1, "toPort": 65536, "cidrBlocks": ["10.0.0.0/8"]}]},
            {"ingress[0].toPort": "KW634 got 65536; allowed -1 to 65535; because ports have 16 bits"},
        ),
        (
            QUEUE,
            {"name": "q" * 81},
            {"name": f"KW634 got 81 characters; allowed 1 to 80 characters; {BY_AWS}"},
        ),
        (
            QUEUE,
            {"visibilityTimeoutSeconds": 43201},
            {"visibilityTimeoutSeconds": f"KW634 got 43201; allowed 0 to 43200; {BY_AWS}"},
        ),
        (
            "aws:lambda/function:Function",
            {**FUNCTION, "memorySize": 64, "ephemeralStorage": {"size": 100}, "layers": list("abcdef")},
            {
                "memorySize": f"KW634 got 64; allowed 128 to 32768; {BY_AWS}",
                "ephemeralStorage.size": f"KW634 got 100; allowed 512 to 32768; {BY_AWS}",
                "layers": f"KW634 got a list of 6; allowed at most 5 items; {BY_AWS}",
            },
        ),
        (
            PARAMETER,
            {"type": "String", "value": "v", "insecureValue": "w"},
            {"value": "KW634 got value and insecureValue; allowed exactly one of value and insecureValue"},
        ),
    ],
)
def test_given_what_aws_refuses_when_checked_then_a_preview_says_so(
    token: str, inputs: dict[str, Any], refused: dict[str, str]
) -> None:
    assert check(token, inputs)[1] == refused


@pytest.mark.parametrize(
    ("token", "inputs"),
    [
        (QUEUE, {"visibilityTimeoutSeconds": UNKNOWN, "name": UNKNOWN}),
        ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 0}),
        ("aws:lambda/function:Function", {**FUNCTION, "reservedConcurrentExecutions": -1, "description": ""}),
        (PARAMETER, {"type": "SecureString", "value": "v"}),
        (RULE, {**RULE_INPUTS, "fromPort": -1, "toPort": -1}),
    ],
)
def test_given_what_aws_accepts_when_checked_then_it_is_not_refused(
    token: str, inputs: dict[str, Any]
) -> None:
    assert check(token, inputs)[1] == {}


def test_given_several_faults_when_checked_then_all_are_reported() -> None:
    _, failures = check(QUEUE, {"a": 1, "b": 2, "delaySeconds": "x"})
    assert list(failures) == ["a", "b", "delaySeconds"]


def test_given_texts_that_are_numbers_when_checked_then_taken_as_the_bridge_does() -> None:
    checked, failures = check(QUEUE, {"delaySeconds": "5", "fifoQueue": "true", "name": 7})
    assert failures == {}
    assert (checked["delaySeconds"], checked["fifoQueue"], checked["name"]) == (5, True, "7")


def test_given_unknown_values_when_checked_and_compared_then_kept_and_a_change() -> None:
    checked, failures = check(QUEUE, {"name": "n", "kmsMasterKeyId": UNKNOWN, "tags": {"a": UNKNOWN}})
    assert failures == {}
    assert has_unknown(checked)
    found = table.diff(QUEUE, {"name": "n"}, {"name": "n"}, checked)
    assert {c.path for c in found.changes} == {"kmsMasterKeyId", "tags"}
    assert found.replaces == ()


ROLE = {"name": "r", "assumeRolePolicy": '{"a": 1}'}


@pytest.mark.parametrize(
    ("token", "state", "wanted", "changes", "replaces"),
    [
        (QUEUE, {"delaySeconds": 0}, {}, [], []),
        (QUEUE, {"delaySeconds": 0}, {"delaySeconds": 5}, ["delaySeconds"], []),
        (QUEUE, {"delaySeconds": 9}, {}, ["delaySeconds"], []),
        (QUEUE, {"fifoQueue": False}, {"fifoQueue": True}, ["fifoQueue"], ["fifoQueue"]),
        (QUEUE, {"policy": '{"a":1,"b":2}'}, {"policy": '{ "b": 2, "a": 1 }'}, [], []),
        (QUEUE, {"maxMessageSize": 262144}, {}, [], []),
        (QUEUE, {"tags": {"by": "hand"}}, {}, ["tags"], []),
        (QUEUE, {"tags": {}}, {}, [], []),
        ("aws:iam/role:Role", {**ROLE, "assumeRolePolicy": '{"a":1}'}, ROLE, [], []),
        (
            "aws:dynamodb/table:Table",
            {"attributes": [{"name": "b", "type": "S"}, {"name": "a", "type": "S"}]},
            {"attributes": [{"name": "a", "type": "S"}, {"name": "b", "type": "S"}]},
            [],
            [],
        ),
        (
            "aws:ecs/capacityProvider:CapacityProvider",
            {"autoScalingGroupProvider": {"autoScalingGroupArn": "x", "managedDraining": "ENABLED"}},
            {"autoScalingGroupProvider": {"autoScalingGroupArn": "x"}},
            [],
            [],
        ),
        (
            "aws:ecs/capacityProvider:CapacityProvider",
            {"autoScalingGroupProvider": {"autoScalingGroupArn": "x"}},
            {"autoScalingGroupProvider": {"autoScalingGroupArn": "y"}},
            ["autoScalingGroupProvider"],
            ["autoScalingGroupProvider"],
        ),
        ("aws:ecs/service:Service", {"desiredCount": 7}, {}, ["desiredCount"], []),
        ("aws:autoscaling/group:Group", {"desiredCapacity": 7}, {}, [], []),
        (
            "aws:autoscaling/group:Group",
            {"availabilityZones": ["a"]},
            {"availabilityZones": ["b"]},
            ["availabilityZones"],
            [],
        ),
        (
            "aws:autoscaling/group:Group",
            {
                "mixedInstancesPolicy": {
                    "instancesDistribution": {"onDemandAllocationStrategy": "prioritized"}
                }
            },
            {"mixedInstancesPolicy": {"instancesDistribution": {}}},
            [],
            [],
        ),
        (PARAMETER, {"dataType": "text"}, {"dataType": "aws:ec2:image"}, ["dataType"], ["dataType"]),
        (PARAMETER, {"tier": "Advanced"}, {"tier": "Standard"}, ["tier"], ["tier"]),
        (PARAMETER, {"tier": "Standard"}, {"tier": "Advanced"}, ["tier"], []),
        (VPC, {"instanceTenancy": "dedicated"}, {"instanceTenancy": "default"}, ["instanceTenancy"], []),
        (
            VPC,
            {"instanceTenancy": "default"},
            {"instanceTenancy": "dedicated"},
            ["instanceTenancy"],
            ["instanceTenancy"],
        ),
        (
            "aws:ecs/taskDefinition:TaskDefinition",
            {"enableFaultInjection": False},
            {"enableFaultInjection": True},
            ["enableFaultInjection"],
            ["enableFaultInjection"],
        ),
        (
            "aws:ec2/vpcEndpoint:VpcEndpoint",
            {"privateDnsEnabled": False, "vpcEndpointType": "Resource"},
            {"privateDnsEnabled": True, "vpcEndpointType": "Resource"},
            ["privateDnsEnabled"],
            ["privateDnsEnabled"],
        ),
        (
            "aws:ec2/vpcEndpoint:VpcEndpoint",
            {"privateDnsEnabled": False, "vpcEndpointType": "Interface"},
            {"privateDnsEnabled": True, "vpcEndpointType": "Interface"},
            ["privateDnsEnabled"],
            [],
        ),
        (RULE, {"cidrIpv4": "10.0.0.0/8"}, {"cidrIpv4": "10.0.0.0/16"}, ["cidrIpv4"], []),
        (
            RULE,
            {"cidrIpv4": "10.0.0.0/8"},
            {"referencedSecurityGroupId": "sg-1"},
            ["cidrIpv4", "referencedSecurityGroupId"],
            ["cidrIpv4", "referencedSecurityGroupId"],
        ),
        (
            "aws:lambda/eventSourceMapping:EventSourceMapping",
            {"filterCriteria": {"filters": [{"pattern": "a"}, {"pattern": "b"}]}},
            {"filterCriteria": {"filters": [{"pattern": "b"}, {"pattern": "a"}]}},
            [],
            [],
        ),
    ],
)
def test_given_state_and_wish_when_compared_then_exactly_what_counts(
    token: str, state: dict[str, Any], wanted: dict[str, Any], changes: list[str], replaces: list[str]
) -> None:
    found = table.diff(token, state if "tags" not in state else {}, state, wanted)
    assert [c.path for c in found.changes] == changes
    assert list(found.replaces) == replaces


def test_given_running_tasks_when_their_capacity_changes_then_a_new_deployment_is_asked_for() -> None:
    token = "aws:ecs/service:Service"
    before = {"taskDefinition": "t", "capacityProviderStrategies": [{"capacityProvider": "a", "weight": 1}]}
    after = {**before, "capacityProviderStrategies": [{"capacityProvider": "b", "weight": 1}]}

    def failures(wanted: dict[str, Any]) -> list[tuple[str, str]]:
        return table.check(token, "urn::s", wanted, before)[1]

    assert failures(after) == [
        (
            "capacityProviderStrategies",
            "KW634 got a change of the strategies; allowed with forceNewDeployment; because ECS moves running "
            "tasks only by a new deployment, and pulumi-aws refuses the change without one; fix: set "
            "forceNewDeployment to true",
        )
    ]
    assert failures({**after, "forceNewDeployment": True}) == []
    assert failures(before) == []
    assert failures({**before, "capacityProviderStrategies": [{"capacityProvider": UNKNOWN}]}) == []


def test_given_a_specification_with_an_unknown_name_then_it_is_an_error_of_ours() -> None:
    with pytest.raises(ValueError, match=r"names \['nope'\], which pulumi_aws does not know"):
        compile_fields("nope", {"name": "s"})
    with pytest.raises(ValueError, match="cannot be read"):
        compile_fields("name ?", {"name": "s"})


def test_given_folders_zips_and_parts_when_packed_then_the_bytes_depend_on_content_alone(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "b.py").write_text("b")
        (folder / "a.py").write_text("a")
    one, two = (archive_blob(f) for f in folders)
    assert one.digest == two.digest
    assert one.content("x") == two.content("x")
    parts = entries_blob({"a.py": text_blob("a"), "sub": archive_blob(folders[0] / "sub")})
    with zipfile.ZipFile(io.BytesIO(parts.content("x"))) as packed:
        assert packed.namelist() == ["a.py", "sub/b.py"]
    (folders[0] / "a.py").write_text("changed")
    assert archive_blob(folders[0]).digest != two.digest
    ready = tmp_path / "ready.zip"
    ready.write_bytes(zip_bytes({"x": (b"y", True)}))
    assert archive_blob(ready).content("x") == ready.read_bytes()
    missing = file_blob(ready)
    ready.unlink()
    with pytest.raises(ResourceError, match="KW646 owner: an asset cannot be read"):
        missing.content("owner")


def test_given_a_state_file_when_read_back_then_blobs_are_digests() -> None:
    value = {"code": text_blob("hello"), "list": [{"a": 1}], "none": None}
    again = from_state(json.loads(json.dumps(to_state(value))))
    assert again["code"].digest == text_blob("hello").digest
    assert again["list"] == value["list"]
    with pytest.raises(ResourceError, match="KW646 owner: the content of an asset is not in the state"):
        again["code"].content("owner")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e6, 1e6) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), PLAIN, max_size=5), st.data())
def test_given_any_values_when_sent_over_the_wire_then_they_come_back_with_their_secrets(
    values: dict[str, Any], data: st.DataObject
) -> None:
    kept = [k for k, v in values.items() if v is not None]
    secrets = data.draw(st.sets(st.sampled_from(kept)) if kept else st.just(set()))
    back = read_struct(struct_pb2.Struct.FromString(write_struct(values, secrets).SerializeToString()))
    assert back.values == values
    assert back.secrets == secrets


@given(PLAIN)
def test_given_any_value_when_compared_with_itself_then_the_same(value: Any) -> None:
    for of in (Field("any"), Field("list", of=Field("any"), unordered=True), Field("map", of=Field("any"))):
        assert same(of, value, value)


def test_given_unknowns_and_assets_when_sent_then_unknowns_stay_and_assets_go_back_unchanged() -> None:
    sent = write_struct({"a": UNKNOWN, "b": [UNKNOWN]})
    assert read_struct(sent).values == {"a": UNKNOWN, "b": [UNKNOWN]}
    struct = struct_pb2.Struct()
    struct.update(
        {
            "code": {
                "4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17",
                "text": "hi",
                "hash": "h",
            }
        }
    )
    read = read_struct(struct).values["code"]
    assert isinstance(read, Blob)
    assert (read.digest, read.content("x")) == ("h", b"hi")
    assert write_struct({"code": read}) == struct


TABLE = "aws:dynamodb/table:Table"
NO_ANSWER = ReadTimeoutError(endpoint_url="http://cloud")


def refused(status: int, repeated: int) -> ClientError:
    told = {"HTTPStatusCode": status, "RetryAttempts": repeated}
    return ClientError({"Error": {"Code": "ResourceInUse"}, "ResponseMetadata": told}, "CreateTable")


@pytest.mark.parametrize(
    ("cause", "possible"),
    [
        (NO_ANSWER, True),
        (ConnectionClosedError(endpoint_url="http://cloud"), True),
        (refused(500, 0), True),
        (refused(400, 1), True),
        (refused(400, 0), False),
        (ValueError("of ours"), False),
        (None, False),
    ],
)
def test_given_a_failed_creation_when_an_answer_may_be_lost_then_it_may_exist_under_a_name_of_ours_only(
    cause: Exception | None, possible: bool
) -> None:
    error = ResourceError("KW635", "failed")
    error.__cause__ = cause
    made_up = {"name": "t-0a1b2c3", DEFAULTS_KEY: ["name"]}
    assert table.may_exist(TABLE, made_up, error) is possible
    # Whoever had this name before must not lose the table for it.
    assert not table.may_exist(TABLE, {"name": "orders", DEFAULTS_KEY: []}, error)


def test_given_a_cloud_that_does_not_answer_when_created_then_said_with_a_way_out() -> None:
    class Silent(Aws):
        def client(self, service: str, region: str | None = None) -> Any:
            raise NO_ANSWER

    with pytest.raises(ResourceError) as raised:
        table.create(QUEUE, URN, Silent("http://cloud"), {"name": "jobs"})
    assert str(raised.value) == (
        f'KW635 {URN}: create failed: ReadTimeoutError: Read timeout on endpoint URL: "http://cloud"; because the '
        "cloud gave no answer; fix: see that it runs, then run the same command again"
    )


def test_given_the_codes_then_every_one_that_the_table_raises_is_listed() -> None:
    import re

    folder = Path(table.__file__).parent
    raised = {c for path in folder.glob("*.py") for c in re.findall(r"KW6\d\d", path.read_text())}
    assert raised <= set(CODES)


def test_given_the_reference_page_then_it_is_what_the_table_says() -> None:
    from keepwarm_localcloud.pulumi_types.reference import page

    written = Path(__file__).resolve().parents[2] / "docs" / "engine.md"
    assert written.read_text() == page(), (
        "run: python -m keepwarm_localcloud.pulumi_types.reference docs/engine.md"
    )
