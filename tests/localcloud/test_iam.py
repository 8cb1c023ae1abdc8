"""IAM of the embedded cloud: the policy language, and requests of role sessions end to end.

Proves: how statements match and add up, which action and resource a request asks for, signatures of issued keys.
Does not prove: service control policies, session policies, tags as conditions: the cloud has none of them.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.iam.credentials import Credentials
from keepwarm_localcloud.iam.policy import (
    Principal,
    applies,
    arn_like,
    condition_holds,
    effect_of,
    like,
    substitute,
)
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.s3 import S3Service
from keepwarm_localcloud.services.sqs import SqsService
from keepwarm_localcloud.services.sts.service import StsService

ACCOUNT = "100000000003"
pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


# --- the language ------------------------------------------------------------------------------------------


@given(st.text(alphabet="ab*?:/", max_size=8), st.text(alphabet="ab:/", max_size=8))
@settings(max_examples=500, deadline=None)
def test_given_any_pattern_when_matched_then_what_a_naive_matcher_says(pattern: str, value: str) -> None:
    def naive(p: str, v: str) -> bool:
        if not p:
            return not v
        if p[0] == "*":
            return naive(p[1:], v) or (bool(v) and naive(p, v[1:]))
        return bool(v) and p[0] in ("?", v[0]) and naive(p[1:], v[1:])

    assert like(pattern, value) == naive(pattern, value)


@given(st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_given_any_text_without_wildcards_when_matched_then_only_itself(text: str) -> None:
    literal = re.sub(r"[*?]", "", text)
    assert like(literal, literal)
    assert not like(literal, literal + "x")


def test_given_a_wildcard_when_matching_arns_then_it_stays_in_its_part() -> None:
    assert arn_like("arn:aws:s3:::bucket*", "arn:aws:s3:::bucket-1/key:with:colons")
    assert arn_like("arn:aws:sqs:*:1:queue", "arn:aws:sqs:us-east-1:1:queue")
    assert not arn_like("arn:aws:*:queue", "arn:aws:sqs:us-east-1:1:queue")


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "holds"),
    [
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a", "A", False),
        ("StringEqualsIgnoreCase", "a", "A", True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", ["a", "b"], "c", True),
        ("StringLike", "a*", "abc", True),
        ("StringNotLike", "a*", "abc", False),
        ("NumericLessThan", "1.2", "1.1", True),
        ("NumericLessThan", "1.2", "1.3", False),
        ("NumericGreaterThanEquals", "2", "x", False),
        ("DateLessThan", "2030-01-01T00:00:00Z", "2026-01-01T00:00:00Z", True),
        ("Bool", "false", "true", False),
        ("Bool", True, "true", True),
        ("IpAddress", "127.0.0.0/8", "127.0.0.1", True),
        ("NotIpAddress", "127.0.0.0/8", "127.0.0.1", False),
        ("ArnLike", "arn:aws:s3:::b*", "arn:aws:s3:::bucket", True),
        ("ArnNotLike", "arn:aws:s3:::b*", "arn:aws:s3:::bucket", False),
        ("StringNotEqualsIgnoreCase", "a", "A", False),
        ("NumericEquals", "2", "2.0", True),
        ("NumericNotEquals", "2", "3", True),
        ("NumericLessThanEquals", "2", "2", True),
        ("NumericGreaterThan", "2", "2", False),
        ("DateEquals", "2030-01-01T00:00:00Z", "2030-01-01T01:00:00+01:00", True),
        ("DateNotEquals", "2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z", False),
        ("DateGreaterThan", "2030-01-01T00:00:00Z", "2026-01-01T00:00:00Z", False),
        ("DateGreaterThanEquals", "2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z", True),
        ("DateLessThanEquals", "2030-01-01T00:00:00Z", "2030-01-01T00:00:01Z", False),
        ("BinaryEquals", "YQ==", "YQ==", True),
        ("BinaryEquals", "YQ==", "Yg==", False),
        ("IpAddress", "127.0.0.0/8", "localhost", False),
        ("ArnEquals", "arn:aws:s3:::b?", "arn:aws:s3:::bc", True),
        ("ArnNotEquals", "arn:aws:s3:::b", "arn:aws:s3:::b", False),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
        ("Null", "false", "x", True),
        # A missing key satisfies the negated operators, IfExists and ForAllValues, and nothing else.
        ("StringEquals", "a", None, False),
        ("StringNotEquals", "a", None, True),
        ("StringEqualsIfExists", "a", None, True),
        ("StringEqualsIfExists", "a", "b", False),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a"], ["a", "b"], False),
        ("ForAllValues:StringEquals", "a", None, True),
        ("ForAnyValue:StringEquals", "a", ["a", "b"], True),
        ("ForAnyValue:StringEquals", "c", ["a", "b"], False),
        ("ForAnyValue:StringEquals", "a", None, False),
        ("ForAnyValue:StringNotEquals", "a", ["a", "b"], True),
    ],
)
def test_given_a_condition_when_evaluated_then_as_documented(
    operator: str, wanted: Any, value: Any, *, holds: bool
) -> None:
    context = {} if value is None else {"aws:key": value}
    assert condition_holds(operator, "aws:Key", wanted, context) is holds


def test_given_an_unknown_operator_when_evaluated_then_refused_and_not_ignored() -> None:
    with pytest.raises(AwsError, match="StringEqual"):
        condition_holds("StringEqual", "k", "v", {"k": "v"})


def test_given_a_policy_variable_when_substituted_then_the_value_or_nothing_matches() -> None:
    assert substitute("a/${aws:userid}/*", {"aws:userid": "u"}) == "a/u/*"
    statement = allow("s3:*", "arn:aws:s3:::b/${aws:userid}/*")
    assert applies(statement, "s3:GetObject", "arn:aws:s3:::b/u/k", {"aws:userid": "u"})
    assert not applies(statement, "s3:GetObject", "arn:aws:s3:::b/u/k", {})


@pytest.mark.parametrize(
    ("statements", "effect"),
    [
        ([allow("s3:Get*")], "Allow"),
        ([allow("S3:getobject")], "Allow"),
        ([allow("s3:Put*")], None),
        ([allow("s3:*"), deny("s3:GetObject")], "Deny"),
        ([deny("s3:GetObject", Condition={"Bool": {"aws:SecureTransport": "false"}}), allow("*")], "Allow"),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "Allow"),
        ([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}], None),
        ([{"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::b/*"}], None),
        ([allow("s3:*", ["arn:aws:s3:::other/*", "arn:aws:s3:::b/?ey"])], "Allow"),
        ([], None),
    ],
)
def test_given_statements_when_they_meet_then_an_explicit_deny_wins(
    statements: list[dict[str, Any]], effect: str
) -> None:
    context = {"aws:securetransport": "true"}
    assert effect_of([policy(*statements)], "s3:GetObject", "arn:aws:s3:::b/key", context) == effect


@pytest.mark.parametrize(
    ("principal", "matches"),
    [
        ("*", True),
        ({"AWS": "arn:aws:iam::1:role/r"}, True),
        ({"AWS": ["1"]}, True),
        ({"AWS": "arn:aws:iam::1:root"}, True),
        ({"AWS": "arn:aws:iam::2:root"}, False),
        ({"Service": "s3.amazonaws.com"}, False),
    ],
)
def test_given_a_principal_when_a_role_asks_then_only_its_own_names_match(
    principal: Any, *, matches: bool
) -> None:
    role = Principal("arn:aws:iam::1:role/r", "arn:aws:sts::1:assumed-role/r/s", "", "1")
    statement = allow("s3:*", Principal=principal)
    assert applies(statement, "s3:GetObject", "arn", {}, role) is matches


@pytest.mark.parametrize(
    ("block", "matches"),
    [
        ({"Action": "s3:Get*"}, True),
        ({"NotAction": "s3:Get*"}, False),
        ({"NotAction": ["s3:Put*", "s3:Delete*"]}, True),
        ({"Action": "*", "Resource": "arn:aws:s3:::b/*"}, True),
        ({"Action": "*", "NotResource": "arn:aws:s3:::b/*"}, False),
        ({"Action": "*", "NotResource": "arn:aws:s3:::b/k/*"}, True),
        ({"Action": "*", "NotPrincipal": {"AWS": "arn:aws:iam::1:role/r"}}, False),
        ({"Action": "*", "NotPrincipal": {"AWS": "arn:aws:iam::1:role/other"}}, True),
        ({"Action": "*", "NotPrincipal": {"Service": "s3.amazonaws.com"}}, True),
    ],
)
def test_given_a_statement_of_what_it_is_not_about_when_a_role_asks_then_all_else_matches(
    block: dict[str, Any], *, matches: bool
) -> None:
    role = Principal("arn:aws:iam::1:role/r", "arn:aws:sts::1:assumed-role/r/s", "", "1")
    principal = {} if "NotPrincipal" in block else {"Principal": "*"}
    statement = {"Effect": "Allow", **principal, **block}
    assert applies(statement, "s3:GetObject", "arn:aws:s3:::b/k", {}, role) is matches


# --- requests ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    services: list[Any] = [S3Service(), SqsService(), StsService()]
    with Cloud(CloudSettings(account_id=ACCOUNT), services=services) as cloud:
        yield cloud


class Role:
    """A role and boto3 clients with a session of it."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.cloud, self.name = cloud, name
        self.iam = cloud.boto("iam")
        trust = policy(
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        )
        self.arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        self.credentials: Credentials = cloud.credentials.issue(self.arn, "session")

    def grant(self, *statements: dict[str, Any], name: str = "inline") -> None:
        self.iam.put_role_policy(RoleName=self.name, PolicyName=name, PolicyDocument=policy(*statements))

    def client(self, service: str, **more: Any) -> Any:
        keys = {
            "aws_access_key_id": self.credentials.access_key_id,
            "aws_secret_access_key": self.credentials.secret_access_key,
            "aws_session_token": self.credentials.session_token,
        }
        return boto3.client(
            service,
            endpoint_url=self.cloud.endpoint,
            region_name="us-east-1",
            config=Config(
                retries={"total_max_attempts": 1},
                signature_version="s3v4" if service == "s3" else None,
                inject_host_prefix=False,
            ),
            **{**keys, **more},
        )


_names = iter(range(10_000))


@pytest.fixture
def role(cloud: Cloud) -> Role:
    return Role(cloud, f"role-{next(_names)}")


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    name = f"iam-bucket-{next(_names)}"
    cloud.boto("s3").create_bucket(Bucket=name)
    return name


def refused(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return f"{error.value.response['Error']['Code']}: {error.value.response['Error'].get('Message', '')}"


def test_given_no_policy_when_a_role_asks_then_access_denied_naming_action_and_resource(
    role: Role, bucket: str
) -> None:
    text = refused(role.client("s3").put_object, Bucket=bucket, Key="k", Body=b"")
    assert text.startswith("AccessDenied: User: arn:aws:sts::")
    assert "is not authorized to perform: s3:PutObject on resource: arn:aws:s3:::" in text
    assert "no identity-based policy allows the s3:PutObject action" in text


def test_given_a_granted_prefix_when_a_role_writes_then_only_there(role: Role, bucket: str) -> None:
    role.grant(allow("s3:PutObject", f"arn:aws:s3:::{bucket}/mine/*"))
    s3 = role.client("s3")
    s3.put_object(Bucket=bucket, Key="mine/k", Body=b"x" * 100_000)
    assert "AccessDenied" in refused(s3.put_object, Bucket=bucket, Key="other/k", Body=b"")
    assert "s3:GetObject" in refused(s3.get_object, Bucket=bucket, Key="mine/k")


def test_given_no_list_permission_when_a_missing_key_is_read_then_403_and_with_it_404(
    role: Role, bucket: str
) -> None:
    role.grant(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*"))
    assert refused(role.client("s3").get_object, Bucket=bucket, Key="none").startswith("AccessDenied")
    role.grant(allow("s3:ListBucket", f"arn:aws:s3:::{bucket}"), name="list")
    assert refused(role.client("s3").get_object, Bucket=bucket, Key="none").startswith("NoSuchKey")


def test_given_a_deny_in_the_bucket_policy_when_the_role_is_allowed_then_refused(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    role.grant(allow("s3:*"))
    statement = deny("s3:DeleteObject", f"arn:aws:s3:::{bucket}/*", Principal="*")
    cloud.boto("s3").put_bucket_policy(Bucket=bucket, Policy=policy(statement))
    s3 = role.client("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert "explicit deny in a resource-based policy" in refused(s3.delete_object, Bucket=bucket, Key="k")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})
    assert [e["Code"] for e in answer["Errors"]] == ["AccessDenied"]


def test_given_a_deny_for_everybody_when_the_operator_asks_then_never_refused(
    cloud: Cloud, bucket: str
) -> None:
    everything = {"Principal": "*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    document = policy({"Effect": "Deny", "Action": "s3:*", **everything})
    cloud.boto("s3").put_bucket_policy(Bucket=bucket, Policy=document)
    cloud.boto("s3").put_object(Bucket=bucket, Key="k", Body=b"mine")
    assert cloud.boto("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b"mine"


def test_given_a_tls_only_bucket_policy_when_used_over_loopback_then_it_counts_as_secure(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    arns = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    insecure = deny("s3:*", arns, Principal="*", Condition={"Bool": {"aws:SecureTransport": "false"}})
    old = deny("s3:*", arns, Principal="*", Condition={"NumericLessThan": {"s3:TlsVersion": "1.2"}})
    cloud.boto("s3").put_bucket_policy(Bucket=bucket, Policy=policy(insecure, old))
    role.grant(allow("s3:PutObject", arns))
    role.client("s3").put_object(Bucket=bucket, Key="k", Body=b"")


def test_given_a_bucket_policy_that_names_the_role_when_it_has_no_policy_then_allowed(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    statement = allow("s3:PutObject", f"arn:aws:s3:::{bucket}/*", Principal={"AWS": role.arn})
    cloud.boto("s3").put_bucket_policy(Bucket=bucket, Policy=policy(statement))
    role.client("s3").put_object(Bucket=bucket, Key="k", Body=b"")


def test_given_a_condition_on_if_none_match_when_put_without_it_then_refused(role: Role, bucket: str) -> None:
    role.grant(allow("s3:PutObject", Condition={"Null": {"s3:if-none-match": "false"}}))
    s3 = role.client("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"", IfNoneMatch="*")
    assert "AccessDenied" in refused(s3.put_object, Bucket=bucket, Key="k2", Body=b"")


def test_given_object_versions_when_read_by_id_then_get_object_version_is_asked(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    operator = cloud.boto("s3")
    operator.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = operator.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    role.grant(allow("s3:GetObject"))
    s3 = role.client("s3")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    assert "s3:GetObjectVersion" in refused(s3.get_object, Bucket=bucket, Key="k", VersionId=version)


def test_given_queues_when_used_by_a_role_then_each_operation_is_asked(cloud: Cloud, role: Role) -> None:
    name = f"iam-queue-{next(_names)}"
    url = cloud.boto("sqs").create_queue(QueueName=name)["QueueUrl"]
    role.grant(allow("sqs:SendMessage", f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"))
    sqs = role.client("sqs")
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "a", "MessageBody": "m"}])
    assert "sqs:ReceiveMessage" in refused(sqs.receive_message, QueueUrl=url)


def test_given_a_queue_policy_when_a_service_sends_then_source_and_account_must_fit(cloud: Cloud) -> None:
    name = f"iam-queue-{next(_names)}"
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    cloud.boto("sqs").create_queue(QueueName=name)
    source = {"aws:SourceArn": "arn:aws:s3:::b", "aws:SourceAccount": ACCOUNT}
    assert not cloud.iam.allowed("s3.amazonaws.com", "sqs:SendMessage", arn, source)
    statement = allow(
        "sqs:SendMessage",
        arn,
        Principal={"Service": "s3.amazonaws.com"},
        Condition={
            "ArnEquals": {"aws:SourceArn": "arn:aws:s3:::b"},
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
        },
    )
    cloud.boto("sqs").set_queue_attributes(
        QueueUrl=f"{cloud.endpoint}/{ACCOUNT}/{name}", Attributes={"Policy": policy(statement)}
    )
    assert cloud.iam.allowed("s3.amazonaws.com", "sqs:SendMessage", arn, source)
    assert not cloud.iam.allowed("sns.amazonaws.com", "sqs:SendMessage", arn, source)
    assert not cloud.iam.allowed(
        "s3.amazonaws.com", "sqs:SendMessage", arn, {**source, "aws:SourceArn": "arn:aws:s3:::c"}
    )


def test_given_dynamodb_when_used_by_a_role_then_table_index_and_leading_keys_are_asked(
    cloud: Cloud, role: Role
) -> None:
    name = f"table-{next(_names)}"
    cloud.boto("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    arn = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{name}"
    keys = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["mine"]}}
    role.grant(allow(["dynamodb:PutItem", "dynamodb:GetItem"], arn, Condition=keys))
    table = role.client("dynamodb")
    table.put_item(TableName=name, Item={"pk": {"S": "mine"}})
    assert refused(table.put_item, TableName=name, Item={"pk": {"S": "yours"}}).startswith(
        "AccessDeniedException"
    )
    put = {"Put": {"TableName": name, "Item": {"pk": {"S": "mine"}}}}
    table.transact_write_items(TransactItems=[put])
    assert "dynamodb:DeleteItem" in refused(
        table.transact_write_items,
        TransactItems=[put, {"Delete": {"TableName": name, "Key": {"pk": {"S": "mine"}}}}],
    )


BASE = f"us-east-1:{ACCOUNT}"
MACHINE = f"arn:aws:states:{BASE}:stateMachine:m"
F = {"FunctionName": "f"}
UUID = "0" * 36
EVENT = {"timestamp": 0, "message": "x"}
CODE = {
    "Runtime": "python3.11",
    "Role": f"arn:aws:iam::{ACCOUNT}:role/r",
    "Code": {"S3Bucket": "bbb", "S3Key": "k"},
}
REGISTER = {"ServiceId": "srv-1", "InstanceId": "i", "Attributes": {"a": "b"}}


@pytest.mark.parametrize(
    ("service", "call", "arguments", "action", "resource"),
    [
        ("lambda", "invoke", {**F, "Qualifier": "live"}, "InvokeFunction", f"arn:aws:lambda:{BASE}:function:f:live"),
        ("lambda", "get_function", F, "GetFunction", f"arn:aws:lambda:{BASE}:function:f"),
        ("lambda", "get_function_configuration", F, "GetFunctionConfiguration", f"arn:aws:lambda:{BASE}:function:f"),
        ("lambda", "create_function", {**F, **CODE}, "CreateFunction", f"arn:aws:lambda:{BASE}:function:f"),
        ("lambda", "publish_version", F, "PublishVersion", f"arn:aws:lambda:{BASE}:function:f"),
        ("lambda", "put_provisioned_concurrency_config",
         {**F, "Qualifier": "live", "ProvisionedConcurrentExecutions": 1}, "PutProvisionedConcurrencyConfig",
         f"arn:aws:lambda:{BASE}:function:f:live"),
        ("lambda", "get_layer_version", {"LayerName": "l", "VersionNumber": 3}, "GetLayerVersion",
         f"arn:aws:lambda:{BASE}:layer:l:3"),
        ("lambda", "delete_event_source_mapping", {"UUID": UUID}, "DeleteEventSourceMapping",
         f"arn:aws:lambda:{BASE}:event-source-mapping:{UUID}"),
        ("lambda", "list_functions", {}, "ListFunctions", "*"),
        ("stepfunctions", "start_execution", {"stateMachineArn": MACHINE}, "StartExecution", MACHINE),
        ("stepfunctions", "send_task_success", {"taskToken": "t", "output": "{}"}, "SendTaskSuccess", "*"),
        ("logs", "put_log_events", {"logGroupName": "g", "logStreamName": "s", "logEvents": [EVENT]}, "PutLogEvents",
         f"arn:aws:logs:{BASE}:log-group:g:log-stream:s"),
        ("logs", "create_log_stream", {"logGroupName": "g", "logStreamName": "s"}, "CreateLogStream",
         f"arn:aws:logs:{BASE}:log-group:g:*"),
        ("logs", "describe_log_groups", {}, "DescribeLogGroups", "*"),
        ("cloudwatch", "put_metric_data", {"Namespace": "n", "MetricData": []}, "PutMetricData", "*"),
        ("ssm", "get_parameter", {"Name": "/a/b"}, "GetParameter", f"arn:aws:ssm:{BASE}:parameter/a/b"),
        ("secretsmanager", "get_secret_value", {"SecretId": "s"}, "GetSecretValue",
         f"arn:aws:secretsmanager:{BASE}:secret:s"),
        ("kms", "create_key", {}, "CreateKey", "*"),
        ("servicediscovery", "register_instance", REGISTER, "RegisterInstance",
         f"arn:aws:servicediscovery:{BASE}:service/srv-1"),
        ("ecs", "run_task", {"taskDefinition": "t:1", "cluster": "c"}, "RunTask",
         f"arn:aws:ecs:{BASE}:task-definition/t:1"),
        ("ecs", "stop_task", {"task": "x", "cluster": "c"}, "StopTask", f"arn:aws:ecs:{BASE}:task/c/x"),
        ("ecs", "update_service", {"service": "w", "cluster": "c"}, "UpdateService", f"arn:aws:ecs:{BASE}:service/c/w"),
        ("ecs", "describe_services", {"services": ["w"]}, "DescribeServices", f"arn:aws:ecs:{BASE}:service/default/w"),
        ("ecs", "list_tasks", {"cluster": "c"}, "ListTasks", f"arn:aws:ecs:{BASE}:cluster/c"),
        ("sns", "publish", {"TopicArn": f"arn:aws:sns:{BASE}:t", "Message": "x"}, "Publish", f"arn:aws:sns:{BASE}:t"),
        ("events", "put_events", {"Entries": [{"EventBusName": "b"}]}, "PutEvents",
         f"arn:aws:events:{BASE}:event-bus/b"),
        ("sts", "assume_role", {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/none", "RoleSessionName": "me"}, "AssumeRole",
         f"arn:aws:iam::{ACCOUNT}:role/none"),
        ("s3", "list_buckets", {}, "ListAllMyBuckets", "*"),
        ("s3", "create_bucket", {"Bucket": "b"}, "CreateBucket", "arn:aws:s3:::b"),
        ("s3", "list_object_versions", {"Bucket": "b"}, "ListBucketVersions", "arn:aws:s3:::b"),
        ("s3", "list_multipart_uploads", {"Bucket": "b"}, "ListBucketMultipartUploads", "arn:aws:s3:::b"),
        ("s3", "get_bucket_versioning", {"Bucket": "b"}, "GetBucketVersioning", "arn:aws:s3:::b"),
        ("s3", "delete_bucket_policy", {"Bucket": "b"}, "DeleteBucketPolicy", "arn:aws:s3:::b"),
        ("s3", "delete_bucket_encryption", {"Bucket": "b"}, "PutEncryptionConfiguration", "arn:aws:s3:::b"),
        ("s3", "create_multipart_upload", {"Bucket": "b", "Key": "k"}, "PutObject", "arn:aws:s3:::b/k"),
        ("s3", "abort_multipart_upload", {"Bucket": "b", "Key": "k", "UploadId": "u"}, "AbortMultipartUpload",
         "arn:aws:s3:::b/k"),
        ("s3", "list_parts", {"Bucket": "b", "Key": "k", "UploadId": "u"}, "ListMultipartUploadParts",
         "arn:aws:s3:::b/k"),
        ("s3", "get_object_tagging", {"Bucket": "b", "Key": "k"}, "GetObjectTagging", "arn:aws:s3:::b/k"),
        ("s3", "delete_object", {"Bucket": "b", "Key": "k", "VersionId": "v"}, "DeleteObjectVersion",
         "arn:aws:s3:::b/k"),
        ("s3", "get_object_retention", {"Bucket": "b", "Key": "k"}, "GetObjectRetention", "arn:aws:s3:::b/k"),
        ("s3", "get_object_legal_hold", {"Bucket": "b", "Key": "k"}, "GetObjectLegalHold", "arn:aws:s3:::b/k"),
        # Other services: the operation, or the method and the path, on everything.
        ("autoscaling", "describe_auto_scaling_groups", {}, "DescribeAutoScalingGroups", "*"),
        ("scheduler", "get_schedule", {"Name": "x"}, "GetSchedules", "*"),
    ],
)  # fmt: skip
def test_given_a_request_when_a_role_without_rights_makes_it_then_its_action_and_resource_are_asked(
    cloud: Cloud, role: Role, service: str, call: str, arguments: dict[str, Any], action: str, resource: str
) -> None:
    role.grant(allow("iam:GetUser"))
    refused(getattr(role.client(service), call), **arguments)
    facts = cloud.journal.since(kind="access_denied")[-1].facts
    prefix = {"stepfunctions": "states"}.get(service, service)
    assert (facts["role"], facts["action"], facts["resource"]) == (
        role.arn,
        f"{prefix}:{action}",
        resource,
    )


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        ({"Tagging": "a=b"}, "PutObjectTagging"),
        ({"ObjectLockLegalHoldStatus": "ON"}, "PutObjectLegalHold"),
        (
            {
                "ObjectLockMode": "GOVERNANCE",
                "ObjectLockRetainUntilDate": "2040-01-01T00:00:00Z",
            },
            "PutObjectRetention",
        ),
        ({"CopySource": {"Bucket": "other", "Key": "o"}}, "GetObject"),
    ],
)
def test_given_an_upload_with_more_than_data_when_only_put_object_is_allowed_then_refused(
    cloud: Cloud, role: Role, bucket: str, arguments: dict[str, Any], action: str
) -> None:
    role.grant(allow("s3:PutObject"))
    s3 = role.client("s3")
    call = s3.copy_object if "CopySource" in arguments else s3.put_object
    refused(call, Bucket=bucket, Key="k", **arguments)
    facts = cloud.journal.since(kind="access_denied")[-1].facts
    resource = "other/o" if action == "GetObject" else f"{bucket}/k"
    assert (facts["action"], facts["resource"]) == (f"s3:{action}", f"arn:aws:s3:::{resource}")


@pytest.mark.parametrize(
    ("key", "good", "service", "call", "arguments"),
    [
        ("cloudwatch:namespace", "Keepwarm", "cloudwatch", "put_metric_data",
         lambda v: {"Namespace": v, "MetricData": []}),
        ("servicediscovery:NamespaceName", "ns", "servicediscovery", "discover_instances",
         lambda v: {"NamespaceName": v, "ServiceName": "s"}),
        ("ecs:cluster", f"arn:aws:ecs:{BASE}:cluster/c", "ecs", "run_task",
         lambda v: {"cluster": v.rpartition("/")[2], "taskDefinition": "t"}),
    ],
)  # fmt: skip
def test_given_a_condition_of_a_service_when_the_request_differs_then_denied(
    cloud: Cloud, role: Role, key: str, good: str, service: str, call: str, arguments: Any
) -> None:
    role.grant(allow("*", Condition={"StringEquals": {key: good}}))
    denied = len(cloud.journal.since(kind="access_denied"))
    with contextlib.suppress(ClientError):
        # Allowed is enough: what was named does not exist.
        getattr(role.client(service), call)(**arguments(good))
    assert len(cloud.journal.since(kind="access_denied")) == denied
    refused(getattr(role.client(service), call), **arguments(f"{good}x"))
    assert len(cloud.journal.since(kind="access_denied")) == denied + 1


def test_given_an_aws_managed_policy_when_attached_then_its_actions_are_allowed(
    cloud: Cloud, role: Role
) -> None:
    logs = role.client("logs")
    group = f"/aws/lambda/f{next(_names)}"
    assert "logs:CreateLogGroup" in refused(logs.create_log_group, logGroupName=group)
    role.iam.attach_role_policy(
        RoleName=role.name, PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    )
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")


def test_given_a_permissions_boundary_when_it_lacks_the_action_then_refused(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    boundary = role.iam.create_policy(PolicyName=f"b{next(_names)}", PolicyDocument=policy(allow("sqs:*")))[
        "Policy"
    ]["Arn"]
    role.grant(allow("s3:*"))
    role.iam.put_role_permissions_boundary(RoleName=role.name, PermissionsBoundary=boundary)
    assert "permissions boundary" in refused(role.client("s3").put_object, Bucket=bucket, Key="k", Body=b"")


def test_given_a_key_policy_without_the_account_when_the_role_is_allowed_then_refused(
    cloud: Cloud, role: Role
) -> None:
    kms = cloud.boto("kms")
    role.grant(allow("kms:Encrypt"))
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    role.client("kms").encrypt(KeyId=key, Plaintext=b"x")
    kms.create_alias(AliasName=f"alias/a{next(_names)}", TargetKeyId=key)
    other = kms.create_key(
        Policy=policy(allow("kms:*", Principal={"AWS": "arn:aws:iam::999999999999:root"}))
    )["KeyMetadata"]["KeyId"]
    assert refused(role.client("kms").encrypt, KeyId=other, Plaintext=b"x").startswith(
        "AccessDeniedException"
    )


def test_given_an_object_under_a_key_of_the_customer_when_the_role_lacks_the_key_then_refused(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    key = cloud.boto("kms").create_key()["KeyMetadata"]["Arn"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    operator = cloud.boto("s3")
    operator.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    role.grant(allow("s3:*"))
    s3 = role.client("s3")
    assert "kms:GenerateDataKey" in refused(s3.put_object, Bucket=bucket, Key="k", Body=b"")
    operator.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert "kms:Decrypt" in refused(s3.get_object, Bucket=bucket, Key="k")
    via = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    role.grant(allow(["kms:Decrypt", "kms:GenerateDataKey"], key, Condition=via), name="key")
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"})


def test_given_a_queue_under_a_key_of_the_customer_when_the_role_lacks_the_key_then_refused(
    cloud: Cloud, role: Role
) -> None:
    key = cloud.boto("kms").create_key()["KeyMetadata"]["KeyId"]
    name = f"iam-queue-{next(_names)}"
    url = cloud.boto("sqs").create_queue(QueueName=name, Attributes={"KmsMasterKeyId": key})["QueueUrl"]
    role.grant(allow("sqs:*"))
    sqs = role.client("sqs")
    assert "kms:GenerateDataKey" in refused(sqs.send_message, QueueUrl=url, MessageBody="m")
    role.grant(allow(["kms:Decrypt", "kms:GenerateDataKey"]), name="key")
    sqs.send_message(QueueUrl=url, MessageBody="m")
    assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1


def test_given_a_policy_change_when_the_session_goes_on_then_it_acts_at_once(role: Role, bucket: str) -> None:
    s3 = role.client("s3")
    role.grant(allow("s3:PutObject"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    role.iam.delete_role_policy(RoleName=role.name, PolicyName="inline")
    assert "AccessDenied" in refused(s3.put_object, Bucket=bucket, Key="k", Body=b"")


def test_given_a_session_context_when_a_condition_names_it_then_it_decides(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    role.grant(allow("s3:PutObject", Condition={"ArnEquals": {"lambda:SourceFunctionArn": "arn:f"}}))
    assert "AccessDenied" in refused(role.client("s3").put_object, Bucket=bucket, Key="k", Body=b"")
    role.credentials = cloud.credentials.issue(role.arn, "s", context={"lambda:SourceFunctionArn": "arn:f"})
    role.client("s3").put_object(Bucket=bucket, Key="k", Body=b"")


def test_given_a_refusal_when_journaled_then_the_journal_says_who_and_what(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    refused(role.client("s3").put_object, Bucket=bucket, Key="k", Body=b"")
    last = cloud.journal.since(kind="access_denied")[-1].facts
    assert (last["role"], last["action"], last["resource"]) == (
        role.arn,
        "s3:PutObject",
        f"arn:aws:s3:::{bucket}/k",
    )


# --- identities --------------------------------------------------------------------------------------------


def test_given_a_session_when_it_asks_who_it_is_then_its_assumed_role(cloud: Cloud, role: Role) -> None:
    identity = role.client("sts").get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/session"
    assert identity["Account"] == ACCOUNT
    assert cloud.boto("sts").get_caller_identity()["Arn"].endswith(":user/operator")


def test_given_assume_role_when_the_role_exists_then_credentials_that_act_as_it(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    keys = cloud.boto("sts").assume_role(RoleArn=role.arn, RoleSessionName="other")["Credentials"]
    s3 = role.client(
        "s3",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    assert "AccessDenied" in refused(s3.put_object, Bucket=bucket, Key="k", Body=b"")
    role.grant(allow("s3:PutObject"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"")


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("s3", "list_buckets"),
        ("sqs", "list_queues"),
        ("sts", "get_caller_identity"),
        ("dynamodb", "list_tables"),
    ],
)
def test_given_a_wrong_secret_when_a_session_signs_then_signature_does_not_match(
    role: Role, service: str, operation: str
) -> None:
    client = role.client(service, aws_secret_access_key="wrong")
    call = getattr(client, operation)
    with pytest.raises(ClientError) as error:
        call()
    assert "SignatureDoesNotMatch" in str(error.value)


def test_given_keys_of_a_session_that_ended_when_used_then_refused(cloud: Cloud, role: Role) -> None:
    cloud.credentials.revoke(role.credentials.access_key_id)
    assert refused(role.client("sts").get_caller_identity).startswith("InvalidClientTokenId")


def test_given_odd_keys_and_queries_when_a_session_signs_then_accepted(role: Role, bucket: str) -> None:
    role.grant(allow("s3:*"))
    s3 = role.client("s3")
    for key in ("a b/c+d&e=f", "ü/雪", "..//x"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"1", Metadata={"two": "a  b"})
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"1"
    assert s3.list_objects_v2(Bucket=bucket, Prefix="a b", Delimiter="/")["KeyCount"] == 1


def test_given_a_presigned_url_of_a_session_when_used_then_its_role_decides(
    cloud: Cloud, role: Role, bucket: str
) -> None:
    import urllib.error
    import urllib.request

    cloud.boto("s3").put_object(Bucket=bucket, Key="k", Body=b"1")
    url = role.client("s3").generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    with pytest.raises(urllib.error.HTTPError, match="403") as error:
        urllib.request.urlopen(url)
    error.value.close()
    role.grant(allow("s3:GetObject"))
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"1"
