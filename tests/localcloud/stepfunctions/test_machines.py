"""State machines: definitions, logging, versions, aliases, names, roles."""

import json
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.workflows import END, ROLE, Flow


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("ALL", None),
        ("ERROR", ["FailStateEntered", "ParallelStateFailed", "ExecutionFailed"]),
        ("FATAL", ["ExecutionFailed"]),
        ("OFF", []),
    ],
)
def test_given_a_logging_level_when_an_execution_fails_then_the_log_group_has_the_events_of_that_level(
    flow: Flow, level: str, expected: list[str] | None
) -> None:
    """https://docs.aws.amazon.com/step-functions/latest/dg/cloudwatch-log-level.html"""
    logs, group = flow.cloud.boto("logs"), f"/aws/vendedlogs/states/{level}"
    logs.create_log_group(logGroupName=group)
    arn = f"arn:aws:logs:us-east-1:123456789021:log-group:{group}:*"
    fail = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Bad", "Cause": "secret"}}}
    definition = {
        "StartAt": "P",
        "States": {"P": {"Type": "Parallel", "Branches": [fail], "End": True}},
    }
    for data in (False, True):
        machine = flow.create(
            definition,
            loggingConfiguration={
                "level": level,
                "includeExecutionData": data,
                "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": arn}}],
            },
        )
        execution = flow.start(machine)
        flow.closed(execution)
        found = [
            json.loads(e["message"])
            for e in logs.filter_log_events(logGroupName=group)["events"]
            if json.loads(e["message"])["execution_arn"] == execution
        ]
        assert [line["type"] for line in found] == (flow.events(execution) if expected is None else expected)
        assert ("secret" in json.dumps(found)) is (data and level != "OFF")


@pytest.mark.parametrize(
    ("logging", "message"),
    [
        ({"level": "ALL"}, "Must specify exactly one Log Destination."),
        (
            {"level": "ALL", "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": "arn:aws:logs:x"}}]},
            "Log Destination 'arn:aws:logs:x' must end with ':*'",
        ),
    ],
)
def test_given_a_log_destination_that_cannot_be_when_created_then_invalid_logging_configuration(
    flow: Flow, logging: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError) as refused:
        flow.create({"StartAt": "A", "States": {"A": END}}, loggingConfiguration=logging)
    assert refused.value.response["Error"] == {
        "Code": "InvalidLoggingConfiguration",
        "Message": f"Invalid Logging Configuration: {message}",
    }


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        ("{", "INVALID_JSON_DESCRIPTION"),
        ('{"StartAt":"A","StartAt":"B","States":{}}', "INVALID_JSON_DESCRIPTION"),
        ({"StartAt": "B", "States": {"A": END}}, "MISSING_TRANSITION_TARGET"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "Z"}}}, "MISSING_TRANSITION_TARGET"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass"}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {"Type": "Nope", "End": True}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {**END, "Retries": []}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": END, "B": END}}, "UNREACHABLE_STATE"),
        ({"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "x", "End": True}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {**END, "Parameters": {"a.$": "x"}}}}, "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {**END, "Parameters": {"a.$": "States.Nope()"}}}}, "INVALID_JSON_PATH"),
        ({"StartAt": "A", "States": {"A": {**END, "InputPath": "$.a["}}}, "INVALID_JSON_PATH"),
        ({"StartAt": "A", "States": {"A": {"Type": "Choice", "Choices": [{"Variable": "$.a", "Next": "A"}]}}},
         "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {"Type": "Map", "ItemBatcher": {"BatchInput": {}}, "End": True,
                                           "ItemProcessor": {"StartAt": "B", "States": {"B": END}}}}},
         "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {"Type": "Map", "ItemBatcher": {"MaxItemsPerBatch": 0}, "End": True,
                                           "ItemProcessor": {"StartAt": "B", "States": {"B": END}}}}},
         "SCHEMA_VALIDATION_FAILED"),
        ({"StartAt": "A", "States": {"A": {"Type": "Map", "ToleratedFailurePercentage": 101, "End": True,
                                           "ItemProcessor": {"StartAt": "B", "States": {"B": END}}}}},
         "SCHEMA_VALIDATION_FAILED"),
        ({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": END}}, "SCHEMA_VALIDATION_FAILED"),
    ],
)  # fmt: skip
def test_given_bad_asl_when_created_then_invalid_definition_names_it(
    flow: Flow, definition: Any, code: str
) -> None:
    text = definition if isinstance(definition, str) else json.dumps(definition)
    answer = flow.api.validate_state_machine_definition(definition=text)
    assert answer["result"] == "FAIL"
    assert code in [d["code"] for d in answer["diagnostics"]]
    with pytest.raises(ClientError, match=f"InvalidDefinition.*{code}"):
        flow.api.create_state_machine(name="bad", definition=text, roleArn=ROLE)


@pytest.mark.parametrize(
    ("extra", "got", "allowed"),
    [
        ({"ItemReader": {"Resource": "arn:aws:states:::s3:getObject"}}, "ItemReader", "ItemsPath and the state output"),
        ({"ResultWriter": {"Resource": "arn:aws:states:::s3:putObject"}}, "ResultWriter",
         "ItemsPath and the state output"),
        ({"QueryLanguage": "JSONata"}, "QueryLanguage JSONata", "QueryLanguage JSONPath"),
    ],
)  # fmt: skip
def test_given_what_does_not_run_here_when_created_then_kw610_says_what_does(
    flow: Flow, extra: dict[str, Any], got: str, allowed: str
) -> None:
    state = {"Type": "Map", "ItemProcessor": {"StartAt": "A", "States": {"A": END}}, "End": True, **extra}
    wrong = flow.api.validate_state_machine_definition(
        definition=json.dumps({"StartAt": "M", "States": {"M": state}})
    )["diagnostics"]
    assert [d["message"] for d in wrong] == [
        f"KW610 state machine: got {got}; allowed {allowed}; because it isn't implemented here; "
        "fix: use what is allowed"
    ]


@pytest.mark.parametrize(
    ("call", "arguments", "operation"),
    [
        ("create_activity", {"name": "a"}, "CreateActivity"),
        ("redrive_execution", {"executionArn": "arn:aws:states:x"}, "RedriveExecution"),
        ("test_state", {"definition": "{}", "roleArn": ROLE}, "TestState"),
    ],
)
def test_given_an_operation_that_is_not_built_when_asked_then_unknown_operation(
    flow: Flow, call: str, arguments: dict[str, str], operation: str
) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(flow.api, call)(**arguments)
    assert refused.value.response["Error"] == {
        "Code": "UnknownOperationException",
        "Message": f"Step Functions has no operation '{operation}' here",
    }


def test_given_a_callback_in_an_express_machine_when_created_then_refused(flow: Flow) -> None:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": "q", "MessageBody.$": "$$.Task.Token"},
        "End": True,
    }
    definition = {"StartAt": "A", "States": {"A": task}}
    assert flow.create(definition)
    with pytest.raises(ClientError, match=r"InvalidDefinition.*Express"):
        flow.create(definition, type="EXPRESS")


def test_given_an_express_machine_when_started_synchronously_then_the_output_comes_back(flow: Flow) -> None:
    machine = flow.create({"StartAt": "A", "States": {"A": {**END, "Result": 1}}}, type="EXPRESS")
    answer = flow.api.start_sync_execution(stateMachineArn=machine, input="{}")
    assert (answer["status"], answer["output"]) == ("SUCCEEDED", "1")
    with pytest.raises(ClientError, match="StateMachineTypeNotSupported"):
        flow.api.start_sync_execution(stateMachineArn=flow.states("A", A=END))


def test_given_a_role_that_does_not_trust_step_functions_when_created_then_access_denied(flow: Flow) -> None:
    with pytest.raises(ClientError, match=r"AccessDeniedException.*assume the provided role"):
        flow.create({"StartAt": "A", "States": {"A": END}}, roleArn=ROLE.replace("flow", "stranger"))


def test_given_versions_and_an_alias_when_started_then_the_version_runs(flow: Flow) -> None:
    machine = flow.states("A", A={**END, "Result": 1})
    one = flow.api.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"]
    flow.api.update_state_machine(
        stateMachineArn=machine,
        definition=json.dumps({"StartAt": "A", "States": {"A": {**END, "Result": 2}}}),
    )
    alias = flow.api.create_state_machine_alias(
        name="live", routingConfiguration=[{"stateMachineVersionArn": one, "weight": 100}]
    )["stateMachineAliasArn"]
    assert [flow.output(arn) for arn in (machine, one, alias)] == [2, 1, 1]
    with pytest.raises(ClientError, match="ConflictException"):
        flow.api.delete_state_machine_version(stateMachineVersionArn=one)


def test_given_a_machine_with_an_alias_when_it_is_deleted_then_the_alias_is_gone_too(flow: Flow) -> None:
    machine = flow.create({"StartAt": "A", "States": {"A": END}}, name="gone", publish=True)
    route = [{"stateMachineVersionArn": f"{machine}:1", "weight": 100}]
    alias = flow.api.create_state_machine_alias(name="live", routingConfiguration=route)[
        "stateMachineAliasArn"
    ]
    flow.api.delete_state_machine(stateMachineArn=machine)
    flow.create({"StartAt": "A", "States": {"A": END}}, name="gone", publish=True)
    with pytest.raises(ClientError) as raised:
        flow.api.describe_state_machine_alias(stateMachineAliasArn=alias)
    assert raised.value.response["Error"]["Code"] == "ResourceNotFound"


def test_given_a_known_machine_when_it_is_created_again_then_what_it_does_decides_and_not_its_role(
    flow: Flow,
) -> None:
    definition = {"StartAt": "A", "States": {"A": END}}
    trust = json.dumps({"Statement": [{"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}}]})
    other = flow.cloud.boto("iam").create_role(RoleName="other", AssumeRolePolicyDocument=trust)["Role"][
        "Arn"
    ]
    machine = flow.create(definition, name="same")
    assert flow.create(definition, name="same", roleArn=other) == machine
    assert flow.api.describe_state_machine(stateMachineArn=machine)["roleArn"] == ROLE
    with pytest.raises(ClientError, match="StateMachineAlreadyExists"):
        flow.create(definition, name="same", tracingConfiguration={"enabled": True})


@pytest.mark.parametrize(
    ("role", "code"),
    [("garbage", "InvalidArn"), (ROLE.replace("/flow", "/stranger"), "AccessDeniedException")],
)
def test_given_a_role_that_cannot_be_assumed_when_a_machine_is_updated_then_it_is_refused_and_stays(
    role: str, code: str, flow: Flow
) -> None:
    machine = flow.create({"StartAt": "A", "States": {"A": END}})
    with pytest.raises(ClientError) as raised:
        flow.api.update_state_machine(stateMachineArn=machine, roleArn=role)
    assert raised.value.response["Error"]["Code"] == code
    assert flow.api.describe_state_machine(stateMachineArn=machine)["roleArn"] == ROLE


def test_given_an_alias_with_weights_when_started_often_then_both_versions_run_their_share(
    flow: Flow,
) -> None:
    machine = flow.states("A", A={**END, "Result": 1})
    versions = [flow.api.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"]]
    flow.api.update_state_machine(
        stateMachineArn=machine,
        definition=json.dumps({"StartAt": "A", "States": {"A": {**END, "Result": 2}}}),
    )
    versions.append(flow.api.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"])
    routes = [{"stateMachineVersionArn": v, "weight": w} for v, w in zip(versions, (75, 25), strict=True)]
    alias = flow.api.create_state_machine_alias(name="live", routingConfiguration=routes)
    flow.service.random.seed(5)
    expected = random.Random(5)
    for _ in range(12):
        answer = flow.run(alias["stateMachineAliasArn"])
        version = expected.choices(versions, [75, 25])[0]
        assert answer["stateMachineVersionArn"] == version
        assert answer["output"] == str(versions.index(version) + 1)
    assert flow.service.random.random() == expected.random()


@pytest.mark.parametrize("weights", [(50, 40), (100, 100)])
def test_given_weights_that_are_not_100_when_an_alias_is_made_then_validation_exception(
    flow: Flow, weights: tuple[int, int]
) -> None:
    machine = flow.states("A", A=END)
    version = flow.api.publish_state_machine_version(stateMachineArn=machine)["stateMachineVersionArn"]
    with pytest.raises(ClientError) as refused:
        flow.api.create_state_machine_alias(
            name="live",
            routingConfiguration=[{"stateMachineVersionArn": version, "weight": w} for w in weights],
        )
    assert refused.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "An alias routes to one or two versions of one state machine whose weights add up to 100",
    }


def test_given_bad_names_and_unknown_things_when_asked_then_refused_as_aws_does(flow: Flow) -> None:
    machine = flow.states("A", A=END)
    with pytest.raises(ClientError, match="InvalidName"):
        flow.start(machine, name="a b")
    with pytest.raises(ClientError, match="InvalidExecutionInput"):
        flow.api.start_execution(stateMachineArn=machine, input="{")
    with pytest.raises(ClientError, match="StateMachineDoesNotExist"):
        flow.start(f"{machine}x")
    with pytest.raises(ClientError, match="ExecutionDoesNotExist"):
        flow.api.describe_execution(executionArn=f"{machine}:x")
    with pytest.raises(ClientError, match="InvalidToken"):
        flow.api.send_task_success(taskToken="x", output="{}")
