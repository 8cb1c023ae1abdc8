"""The control plane of Lambda over boto3: what AWS takes, what it refuses and in which words.

Proves codes and the wording AWS publishes. Does not prove behavior of running functions (the other files do), nor
wording AWS does not publish.
"""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from keepwarm import limits
from keepwarm_localcloud.services.lambda_.code import CodeStore
from tests.support.lambdas import ECHO, RUNTIME, Lab, archive, lab, refused

ACCOUNT = "100000000001"


@pytest.fixture(scope="module")
def it() -> Iterator[Lab]:
    with lab(account=ACCOUNT) as running:
        yield running


def create(it: Lab, **changes: Any) -> dict[str, Any]:
    request = {
        "FunctionName": "refused",
        "Runtime": RUNTIME,
        "Handler": "app.handler",
        "Role": it.role,
        "Code": {"ZipFile": archive({"app.py": ECHO})},
        **changes,
    }
    answer: dict[str, Any] = it.client.create_function(**request)
    return answer


# --- functions ------------------------------------------------------------------------------------------------------


def test_given_a_new_function_when_reading_it_then_all_its_settings_come_back(it: Lab) -> None:
    name = it.function(
        Description="d", Timeout=7, MemorySize=256, EphemeralStorage={"Size": 1024}, Tags={"team": "x"},
        Environment={"Variables": {"MODE": "fast"}}, TracingConfig={"Mode": "Active"},
        DeadLetterConfig={"TargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:dead"},
    )  # fmt: skip

    found = it.client.get_function(FunctionName=name)

    config = found["Configuration"]
    assert config["FunctionArn"] == f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}"
    assert (config["Timeout"], config["MemorySize"], config["EphemeralStorage"]["Size"]) == (7, 256, 1024)
    assert config["Environment"] == {"Variables": {"MODE": "fast"}}
    assert config["TracingConfig"] == {"Mode": "Active"}
    assert (config["State"], config["LastUpdateStatus"], config["Version"]) == (
        "Active",
        "Successful",
        "$LATEST",
    )
    assert config["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
    assert found["Tags"] == {"team": "x"}
    assert name in [f["FunctionName"] for f in it.client.list_functions()["Functions"]]


def test_given_json_logging_when_changed_to_text_then_the_levels_of_the_cloud_go_with_it(it: Lab) -> None:
    name = it.function(LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"})
    before = it.client.get_function_configuration(FunctionName=name)["LoggingConfig"]

    answer = it.client.update_function_configuration(FunctionName=name, LoggingConfig={"LogFormat": "Text"})

    group = f"/aws/lambda/{name}"
    assert before == {
        "LogFormat": "JSON", "LogGroup": group, "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "INFO"
    }  # fmt: skip
    assert answer["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": group}


@pytest.mark.parametrize("level", ["ApplicationLogLevel", "SystemLogLevel"])
def test_given_json_logging_when_changed_to_text_with_a_level_then_refused_and_unchanged(
    it: Lab, level: str
) -> None:
    name = it.function(LoggingConfig={"LogFormat": "JSON"})
    before = it.client.get_function_configuration(FunctionName=name)["LoggingConfig"]

    with refused(
        "InvalidParameterValueException", "ApplicationLogLevel and SystemLogLevel require LogFormat JSON."
    ):
        it.client.update_function_configuration(
            FunctionName=name, LoggingConfig={"LogFormat": "Text", level: "WARN"}
        )

    assert it.client.get_function_configuration(FunctionName=name)["LoggingConfig"] == before


def test_given_a_partial_arn_when_reading_then_it_names_the_function(it: Lab) -> None:
    name = it.function()

    found = it.client.get_function_configuration(FunctionName=f"{ACCOUNT}:function:{name}")

    assert found["FunctionName"] == name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"Timeout": 0},
            "Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than",
        ),
        ({"Timeout": 901}, "Member must have value less than or equal to 900"),
        ({"MemorySize": 127}, "Value '127' at 'memorySize'"),
        ({"MemorySize": 10_241}, "Member must have value less than or equal to 10240"),
        ({"EphemeralStorage": {"Size": 511}}, "Value '511' at 'ephemeralStorage.size'"),
        ({"EphemeralStorage": {"Size": 10_241}}, "less than or equal to 10240"),
        ({"Handler": "a b"}, "Member must satisfy regular expression pattern"),
        ({"Environment": {"Variables": {"1x": "y"}}}, "'environment.variables.key'"),
        ({"Role": "not-an-arn"}, "Value 'not-an-arn' at 'role'"),
        (
            {"TracingConfig": {"Mode": "Sometimes"}},
            "Member must satisfy enum value set: [Active, PassThrough]",
        ),
    ],
)
def test_given_a_value_out_of_range_when_creating_then_validation_exception(
    it: Lab, change: dict[str, Any], words: str
) -> None:
    with refused("ValidationException", words):
        create(it, **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Runtime": "python2.7"}, "Value python2.7 at 'runtime' failed to satisfy constraint"),
        ({"Runtime": "ruby3.4"}, "KW621"),
        (
            {"Environment": {"Variables": {"AWS_REGION": "x"}}},
            "Reserved keys used in this request: AWS_REGION",
        ),
        ({"Environment": {"Variables": {"BIG": "x" * 4094}}}, "exceeded the 4KB limit"),
        ({"Code": {"ZipFile": b"no zip"}}, "Could not unzip uploaded file"),
        ({"Code": {"ZipFile": archive({})}}, "non-empty zip"),
        ({"Code": {"ZipFile": archive({"../evil.py": ""})}}, "Could not unzip uploaded file"),
        ({"Code": {"S3Bucket": "absent-bucket", "S3Key": "k"}}, "S3 Error Code: NoSuchBucket"),
        (
            {"SnapStart": {"ApplyOn": "PublishedVersions"}, "Runtime": "python3.11"},
            "not supported for SnapStart",
        ),
        ({"Layers": ["arn:aws:lambda:us-east-1:100000000001:layer:absent:1"]}, "does not exist"),
        ({"Role": "arn:aws:iam::100000000001:role/absent"}, "cannot be assumed by Lambda"),
        ({"PackageType": "Image", "Code": {"ImageUri": "x"}}, "KW625"),
    ],
)
def test_given_a_bad_parameter_when_creating_then_invalid_parameter_value(
    it: Lab, change: dict[str, Any], words: str
) -> None:
    with refused("InvalidParameterValueException", words):
        create(it, **change)


def test_given_no_interpreter_of_the_runtime_then_the_refusal_says_what_to_install(
    it: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    with refused("InvalidParameterValueException", "KW620", "uv python install 3.14"):
        create(it, Runtime="python3.14")


def test_given_a_package_over_50_mb_when_uploading_it_directly_then_too_large(
    it: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits.LAMBDA_ZIP_UPLOAD_MAX_BYTES == 50 * 1024 * 1024
    monkeypatch.setattr("keepwarm.limits.LAMBDA_ZIP_UPLOAD_MAX_BYTES", 5_000)
    with refused("RequestEntityTooLargeException", "Request must be smaller than 70167211 bytes"):
        create(it, Code={"ZipFile": archive({"app.py": ECHO, "big": b"\0" * 5_000})})


def test_given_more_than_250_mb_unzipped_when_creating_then_refused(it: Lab) -> None:
    import io
    import zipfile

    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as opened,
        opened.open("zeros", "w") as sink,
    ):
        for _ in range(251):
            sink.write(b"\0" * 1024 * 1024)

    with refused("InvalidParameterValueException", "Unzipped size must be smaller than 262144000 bytes"):
        create(it, Code={"ZipFile": buffer.getvalue()})


def test_given_a_name_that_is_taken_when_creating_then_conflict(it: Lab) -> None:
    name = it.function()

    with refused("ResourceConflictException", f"Function already exist: {name}"):
        create(it, FunctionName=name)


def test_given_snapstart_with_large_storage_when_creating_then_refused(it: Lab, monkeypatch: Any) -> None:
    monkeypatch.setattr("keepwarm.limits.SNAPSTART_RUNTIMES", frozenset({RUNTIME}))

    with refused("InvalidParameterValueException", "ephemeral storage greater than 512 MB"):
        create(it, SnapStart={"ApplyOn": "PublishedVersions"}, EphemeralStorage={"Size": 513})


def test_given_an_old_revision_when_updating_then_precondition_failed(it: Lab) -> None:
    name = it.function()
    old = it.client.get_function_configuration(FunctionName=name)["RevisionId"]
    it.client.update_function_configuration(FunctionName=name, Timeout=9)

    with refused("PreconditionFailedException", "RevisionId provided does not match"):
        it.client.update_function_configuration(FunctionName=name, Timeout=10, RevisionId=old)


def test_given_an_update_in_progress_when_updating_then_conflict(it: Lab) -> None:
    name = it.function()
    it.service.functions.functions[name].updating = True

    with refused("ResourceConflictException", "An update is in progress for resource"):
        it.client.update_function_configuration(FunctionName=name, Timeout=10)


def test_given_code_in_s3_when_creating_then_the_object_is_the_package(it: Lab) -> None:
    s3 = it.cloud.boto("s3")
    s3.create_bucket(Bucket="packages")
    s3.put_object(Bucket="packages", Key="code.zip", Body=archive({"app.py": ECHO}))

    name = it.function(Code={"S3Bucket": "packages", "S3Key": "code.zip"})

    direct = it.function()
    sums = {it.client.get_function_configuration(FunctionName=n)["CodeSha256"] for n in (name, direct)}
    assert len(sums) == 1


def test_given_a_deleted_function_when_reading_it_then_not_found(it: Lab) -> None:
    name = it.function()
    it.client.delete_function(FunctionName=name)

    with refused(
        "ResourceNotFoundException", f"Function not found: arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}"
    ):
        it.client.get_function(FunctionName=name)


def test_given_tags_when_changing_them_then_they_are_listed(it: Lab) -> None:
    arn = it.client.get_function_configuration(FunctionName=it.function(Tags={"a": "1", "b": "2"}))[
        "FunctionArn"
    ]

    it.client.tag_resource(Resource=arn, Tags={"c": "3"})
    it.client.untag_resource(Resource=arn, TagKeys=["a"])

    assert it.client.list_tags(Resource=arn)["Tags"] == {"b": "2", "c": "3"}


# --- versions and aliases -------------------------------------------------------------------------------------------


def test_given_nothing_changed_when_publishing_again_then_the_same_version(it: Lab) -> None:
    name = it.function()
    first = it.client.publish_version(FunctionName=name)["Version"]

    assert it.client.publish_version(FunctionName=name)["Version"] == first == "1"


def test_given_a_changed_setting_when_publishing_then_a_new_version_and_the_old_one_as_it_was(
    it: Lab,
) -> None:
    name = it.function(Timeout=5)
    it.client.publish_version(FunctionName=name)
    it.client.update_function_configuration(FunctionName=name, Timeout=6)

    assert it.client.publish_version(FunctionName=name)["Version"] == "2"

    old = it.client.get_function_configuration(FunctionName=name, Qualifier="1")
    assert (old["Timeout"], old["FunctionArn"].rpartition(":")[2]) == (5, "1")
    listed = it.client.list_versions_by_function(FunctionName=name)["Versions"]
    assert [v["Version"] for v in listed] == ["$LATEST", "1", "2"]


def test_given_another_sha_when_publishing_then_refused(it: Lab) -> None:
    with refused("InvalidParameterValueException", "is different from current CodeSHA256 in $LATEST"):
        it.client.publish_version(FunctionName=it.function(), CodeSha256="AAAA")


def test_given_no_such_version_when_creating_an_alias_then_not_found(it: Lab) -> None:
    name = it.function()

    with refused("ResourceNotFoundException", f"{name}:7"):
        it.client.create_alias(FunctionName=name, Name="live", FunctionVersion="7")


def test_given_an_alias_when_updating_then_read_and_list_show_it(it: Lab) -> None:
    name = it.published()
    it.client.update_function_configuration(FunctionName=name, Timeout=8)
    it.client.publish_version(FunctionName=name)
    it.client.update_alias(
        FunctionName=name,
        Name="live",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.25}},
    )

    found = it.client.get_alias(FunctionName=name, Name="live")

    assert found["FunctionVersion"] == "2"
    assert found["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 0.25}}
    assert [a["Name"] for a in it.client.list_aliases(FunctionName=name)["Aliases"]] == ["live"]
    it.client.delete_alias(FunctionName=name, Name="live")
    with refused("ResourceNotFoundException", "Cannot find alias arn"):
        it.client.get_alias(FunctionName=name, Name="live")


def test_given_latest_in_the_weights_when_creating_an_alias_then_refused(it: Lab) -> None:
    name = it.published()

    with refused("InvalidParameterValueException", "$LATEST is not supported"):
        it.client.create_alias(
            FunctionName=name,
            Name="mixed",
            FunctionVersion="$LATEST",
            RoutingConfig={"AdditionalVersionWeights": {"1": 0.1}},
        )


def test_given_an_alias_on_a_version_when_deleting_the_version_then_conflict(it: Lab) -> None:
    name = it.published()

    with refused("ResourceConflictException", "referenced by alias"):
        it.client.delete_function(FunctionName=name, Qualifier="1")


# --- layers ---------------------------------------------------------------------------------------------------------


def test_given_layers_when_publishing_and_deleting_then_versions_count_on(it: Lab) -> None:
    content = {"ZipFile": archive({"python/lib.py": "X = 1"})}
    first = it.client.publish_layer_version(LayerName="dep", Content=content, CompatibleRuntimes=[RUNTIME])
    it.client.delete_layer_version(LayerName="dep", VersionNumber=1)

    second = it.client.publish_layer_version(LayerName="dep", Content=content)

    assert (first["Version"], second["Version"]) == (1, 2)
    assert second["LayerVersionArn"] == f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:dep:2"
    listed = it.client.list_layer_versions(LayerName="dep")["LayerVersions"]
    assert [v["Version"] for v in listed] == [2]
    assert it.client.get_layer_version(LayerName="dep", VersionNumber=2)["Content"]["CodeSize"] > 0


def test_given_six_layers_when_creating_then_refused(it: Lab) -> None:
    content = {"ZipFile": archive({"python/lib.py": "X = 1"})}
    arns = [
        it.client.publish_layer_version(LayerName=f"many-{n}", Content=content)["LayerVersionArn"]
        for n in range(6)
    ]

    with refused("InvalidParameterValueException", "Cannot reference more than 5 layers"):
        create(it, Layers=arns)


# --- capacity providers ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_given_a_capacity_provider_in_use_when_deleting_it_then_conflict_until_the_function_is_gone(
    it: Lab,
) -> None:
    ec2 = it.cloud.boto("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    arn = it.client.create_capacity_provider(
        CapacityProviderName="pool",
        VpcConfig={"SubnetIds": [subnet], "SecurityGroupIds": [group]},
        PermissionsConfig={"CapacityProviderOperatorRoleArn": it.role},
        Tags={"a": "1"},
    )["CapacityProvider"]["CapacityProviderArn"]
    use = {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": arn}}
    name = it.function(CapacityProviderConfig=use, Timeout=1800, MemorySize=20_480)

    with refused("ResourceConflictException", name):
        it.client.delete_capacity_provider(CapacityProviderName="pool")

    assert it.client.list_tags(Resource=arn)["Tags"] == {"a": "1"}
    it.client.delete_function(FunctionName=name)
    it.client.delete_capacity_provider(CapacityProviderName="pool")
    with refused("ResourceNotFoundException", "Capacity provider not found"):
        it.client.get_capacity_provider(CapacityProviderName="pool")


# --- resource policy and settings -----------------------------------------------------------------------------------


def test_given_a_permission_when_adding_it_twice_then_conflict(it: Lab) -> None:
    name = it.function()
    statement = {
        "FunctionName": name, "StatementId": "s3", "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::intake", "SourceAccount": ACCOUNT,
    }  # fmt: skip
    it.client.add_permission(**statement)

    with refused("ResourceConflictException", "The statement id (s3) provided already exists"):
        it.client.add_permission(**statement)

    policy = json.loads(it.client.get_policy(FunctionName=name)["Policy"])
    assert policy["Statement"][0]["Condition"] == {
        "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::intake"},
        "StringEquals": {"AWS:SourceAccount": ACCOUNT},
    }
    it.client.remove_permission(FunctionName=name, StatementId="s3")
    with refused("ResourceNotFoundException"):
        it.client.get_policy(FunctionName=name)


def test_given_an_event_invoke_config_when_updating_then_what_is_not_given_stays(it: Lab) -> None:
    name = it.function()
    _, queue = it.queue()
    it.client.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": queue}}
    )

    it.client.update_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=60)

    found = it.client.get_function_event_invoke_config(FunctionName=name)
    assert (found["MaximumRetryAttempts"], found["MaximumEventAgeInSeconds"]) == (0, 60)
    assert found["DestinationConfig"] == {"OnFailure": {"Destination": queue}}
    it.client.delete_function_event_invoke_config(FunctionName=name)
    with refused("ResourceNotFoundException", "doesn't have an EventInvokeConfig"):
        it.client.get_function_event_invoke_config(FunctionName=name)


@pytest.mark.parametrize("config", [{"MaximumRetryAttempts": 3}, {"MaximumEventAgeInSeconds": 59}])
def test_given_bad_asynchronous_settings_when_putting_them_then_validation_exception(
    it: Lab, config: dict[str, int]
) -> None:
    with refused("ValidationException", "failed to satisfy constraint"):
        it.client.put_function_event_invoke_config(FunctionName=it.function(), **config)


def test_given_the_account_when_asking_then_its_limits_and_use(it: Lab) -> None:
    found = it.client.get_account_settings()

    assert found["AccountLimit"]["ConcurrentExecutions"] == 1000
    assert found["AccountUsage"]["FunctionCount"] == len(it.service.functions.functions)


def test_given_what_pulumi_reads_besides_when_asking_then_the_answer_of_an_unset_function(it: Lab) -> None:
    name = it.function()

    assert "CodeSigningConfigArn" not in it.client.get_function_code_signing_config(FunctionName=name)
    assert it.client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Auto"
    assert it.client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    assert "ReservedConcurrentExecutions" not in it.client.get_function_concurrency(FunctionName=name)


def test_given_an_operation_that_is_not_built_when_asking_then_a_coded_refusal(it: Lab) -> None:
    with refused("InvalidParameterValueException", "KW625 CreateFunctionUrlConfig"):
        it.client.create_function_url_config(FunctionName=it.function(), AuthType="NONE")


def test_given_code_signing_when_put_then_a_coded_refusal(it: Lab) -> None:
    signing = f"arn:aws:lambda:us-east-1:{ACCOUNT}:code-signing-config:csc-{'0' * 17}"
    with refused("InvalidParameterValueException", "KW625 CodeSigningConfigArn: got a configuration"):
        it.client.put_function_code_signing_config(FunctionName=it.function(), CodeSigningConfigArn=signing)


def test_given_a_streamed_invocation_when_asked_then_a_coded_refusal(it: Lab) -> None:
    with refused("InvalidParameterValueException", "KW625 InvokeWithResponseStream"):
        it.client.invoke_with_response_stream(FunctionName=it.function())


def test_given_an_efs_access_point_when_creating_then_a_coded_refusal(it: Lab) -> None:
    point = f"arn:aws:elasticfilesystem:us-east-1:{ACCOUNT}:access-point/fsap-{'0' * 17}"
    with refused("InvalidParameterValueException", "KW625 FileSystemConfigs: got an EFS access point"):
        create(it, FileSystemConfigs=[{"Arn": point, "LocalMountPath": "/mnt/models"}])


def test_given_a_layer_with_an_extension_when_attached_then_a_coded_refusal(it: Lab) -> None:
    layer = it.client.publish_layer_version(
        LayerName="telemetry",
        Content={"ZipFile": archive({"extensions/agent": "#!/bin/sh"}, executable=("extensions/agent",))},
    )["LayerVersionArn"]
    name = it.function()
    for call in (
        lambda: create(it, Layers=[layer]),
        lambda: it.client.update_function_configuration(FunctionName=name, Layers=[layer]),
    ):
        with refused(
            "InvalidParameterValueException", f"KW625 Layers: got {layer}, which brings an extension"
        ):
            call()


def test_given_the_same_package_from_many_at_once_when_adding_then_it_is_unzipped_once(
    tmp_path: Path,
) -> None:
    store = CodeStore(tmp_path)
    package = archive({"app.py": ECHO, "data.bin": bytes(2_000_000)})

    with ThreadPoolExecutor(8) as threads:
        stored = list(threads.map(lambda _: store.add(package), range(16)))

    assert len({id(each) for each in stored}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [stored[0].directory.name, stored[0].archive.name]
    )


def test_given_code_in_the_request_when_reading_the_package_back_then_the_same_bytes(it: Lab) -> None:
    package = archive({"app.py": ECHO, "data.bin": bytes(range(256))})
    name = it.function(Code={"ZipFile": package})

    stored = it.service.functions.functions[name].latest.package

    assert stored.archive.read_bytes() == package
    assert (stored.directory / "data.bin").read_bytes() == bytes(range(256))
    assert len(base64.b64decode(stored.sha256)) == 32
