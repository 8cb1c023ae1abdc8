"""Functions run: real processes under AWS's runtime client, cold and warm, killed and replaced as AWS does it.

Proves behavior with real interpreters. Does not prove isolation (a function can read what its user can) nor AWS's
own timing.
"""

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock
from tests.support.lambdas import ECHO, Lab, archive, ended, eventually, lab, refused

COUNTER = """
import os
count = 0
def handler(event, context):
    global count
    count += 1
    return {"count": count, "pid": os.getpid()}
"""
ENVIRONMENT = """
import os, sys, tempfile
def handler(event, context):
    return {"env": dict(os.environ), "path": sys.path, "tmp": tempfile.gettempdir(), "cwd": os.getcwd()}
"""


@pytest.fixture(scope="module")
def it() -> Iterator[Lab]:
    with lab(account="100000000002") as running:
        yield running


def failed(it: Lab, name: str, payload: Any = None) -> tuple[dict[str, Any], str]:
    answer = it.client.invoke(FunctionName=name, Payload=json.dumps(payload or {}), LogType="Tail")
    assert answer["FunctionError"] == "Unhandled"
    return json.loads(answer["Payload"].read()), base64.b64decode(answer["LogResult"]).decode()


# --- cold and warm --------------------------------------------------------------------------------------------------


def test_given_two_invocations_when_one_after_the_other_then_one_environment_serves_both(it: Lab) -> None:
    name = it.function(COUNTER)

    first, second = it.call(name), it.call(name)

    assert (first["count"], second["count"]) == (1, 2)
    assert first["pid"] == second["pid"]
    assert [e["cold"] for e in it.entries("invocation", function=name)] == [True, False]


def test_given_new_code_when_invoking_latest_then_a_new_environment_runs_it(it: Lab) -> None:
    name = it.function(COUNTER)
    it.call(name)

    it.client.update_function_code(FunctionName=name, ZipFile=archive({"app.py": ECHO}))

    assert it.call(name, {"new": True}) == {"new": True}


def test_given_an_alias_when_invoking_it_then_its_version_runs_and_says_so(it: Lab) -> None:
    name = it.published("def handler(event, context):\n    return context.invoked_function_arn\n")
    it.client.update_function_code(FunctionName=name, ZipFile=archive({"app.py": ECHO}))

    answer = it.client.invoke(FunctionName=name, Qualifier="live", Payload="{}")

    assert answer["ExecutedVersion"] == "1"
    assert json.loads(answer["Payload"].read()).endswith(f":{name}:live")


def test_given_a_weighted_alias_when_invoking_often_then_both_versions_serve_their_share(it: Lab) -> None:
    name = it.published("def handler(event, context):\n    return context.function_version\n")
    it.client.update_function_configuration(FunctionName=name, Description="next")
    it.client.publish_version(FunctionName=name)
    it.client.update_alias(
        FunctionName=name,
        Name="live",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}},
    )

    served = [it.call(name, Qualifier="live") for _ in range(60)]

    # 60 fair draws leave this range once in ten thousand runs.
    assert 14 < served.count("1") < 46


def test_given_a_dry_run_when_invoking_then_204_and_nothing_ran(it: Lab) -> None:
    name = it.function(COUNTER)

    answer = it.client.invoke(FunctionName=name, InvocationType="DryRun")

    assert answer["StatusCode"] == 204
    assert it.entries("invocation", function=name) == []


# --- what a function sees -------------------------------------------------------------------------------------------


def test_given_an_environment_when_looking_around_then_what_aws_sets_and_nothing_of_the_operator(
    it: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATOR_SECRET", "x")
    name = it.function(ENVIRONMENT, MemorySize=256, Environment={"Variables": {"MINE": "1"}})

    seen = it.call(name)

    env = seen["env"]
    assert (env["MINE"], env["AWS_LAMBDA_FUNCTION_NAME"], env["AWS_LAMBDA_FUNCTION_VERSION"]) == (
        "1",
        name,
        "$LATEST",
    )
    assert env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert env["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert env["AWS_LAMBDA_LOG_GROUP_NAME"] == f"/aws/lambda/{name}"
    assert "[$LATEST]" in env["AWS_LAMBDA_LOG_STREAM_NAME"]
    assert (env["_HANDLER"], env["TZ"], env["AWS_ENDPOINT_URL"]) == ("app.handler", ":UTC", it.cloud.endpoint)
    assert env["LAMBDA_TASK_ROOT"] == seen["cwd"]
    assert env["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    assert env["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert not {"OPERATOR_SECRET", "HOME", "VIRTUAL_ENV", "AWS_PROFILE"} & env.keys()
    assert seen["tmp"] == env["TMPDIR"] != "/tmp"


def test_given_the_developers_packages_when_importing_one_then_only_the_runtimes_are_there(it: Lab) -> None:
    name = it.function(
        "import importlib.util\n"
        "def handler(event, context):\n"
        "    return {n: importlib.util.find_spec(n) is not None for n in event}\n"
    )

    found = it.call(name, ["boto3", "awslambdaric", "moto", "pulumi", "keepwarm", "pytest"])

    assert found == {
        "boto3": True, "awslambdaric": True, "moto": False, "pulumi": False, "keepwarm": False, "pytest": False,
    }  # fmt: skip


def test_given_a_layer_when_importing_from_it_then_the_function_finds_it_after_its_own_code(it: Lab) -> None:
    content = {"ZipFile": archive({"python/dep.py": "WHO = 'layer'", "python/both.py": "WHO = 'layer'"})}
    layer = it.client.publish_layer_version(LayerName="found", Content=content)["LayerVersionArn"]
    source = "import dep, both\ndef handler(event, context):\n    return [dep.WHO, both.WHO]\n"
    code = {"ZipFile": archive({"app.py": source, "both.py": "WHO = 'function'"})}

    name = it.function(Code=code, Layers=[layer])

    assert it.call(name) == ["layer", "function"]


def test_given_the_role_of_a_function_when_it_asks_who_it_is_then_the_role(it: Lab) -> None:
    name = it.function(ENVIRONMENT)
    key = it.call(name)["env"]["AWS_ACCESS_KEY_ID"]

    issued = it.cloud.credentials.find(key)

    assert issued is not None
    assert issued.role_arn == it.role


def test_given_two_environments_when_they_write_to_tmp_then_each_has_its_own(it: Lab) -> None:
    source = (
        "import os, tempfile\n"
        "def handler(event, context):\n"
        "    path = os.path.join(tempfile.gettempdir(), 'mark')\n"
        "    found = os.path.exists(path)\n"
        "    open(path, 'w').close()\n"
        "    return found\n"
    )
    one, other = it.function(source), it.function(source)

    assert [it.call(one), it.call(one), it.call(other)] == [False, True, False]


def test_given_client_context_when_invoking_then_the_function_gets_it(it: Lab) -> None:
    name = it.function("def handler(event, context):\n    return context.client_context.custom\n")
    context = base64.b64encode(json.dumps({"custom": {"a": "b"}}).encode()).decode()

    assert it.call(name, ClientContext=context) == {"a": "b"}


def test_given_a_custom_runtime_when_invoking_then_its_bootstrap_answers(it: Lab) -> None:
    script = """#!/bin/sh
API="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  EVENT=$(curl -sS -D "$TMPDIR/headers" "$API/next")
  ID=$(grep -i Lambda-Runtime-Aws-Request-Id "$TMPDIR/headers" | tr -d '[:space:]' | cut -d: -f2)
  curl -sS -o /dev/null -d "{\\"got\\": $EVENT}" "$API/$ID/response"
done
"""
    code = {"ZipFile": archive({"bootstrap": script}, executable=("bootstrap",))}
    name = it.function(Code=code, Runtime="provided.al2023", Handler="any")

    assert it.call(name, {"x": 1}) == {"got": {"x": 1}}
    assert it.call(name, {"x": 2}) == {"got": {"x": 2}}


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["python3.10", "python3.12", "python3.13", "python3.14"])
def test_given_another_python_on_this_machine_when_invoking_then_that_one_runs_the_function(
    it: Lab, runtime: str
) -> None:
    source = (
        "import sys, boto3\ndef handler(event, context):\n"
        "    left_ms = context.get_remaining_time_in_millis()\n"
        "    return [sys.version.split('.')[1], event, 0 < left_ms <= 20_000]\n"
    )
    try:
        name = it.function(source, Runtime=runtime, Timeout=20, MemorySize=256)
    except ClientError as error:
        if "KW620" not in str(error):
            raise
        pytest.skip(f"{runtime} is not installed here")

    minor = runtime.partition(".")[2]
    assert it.call(name, {"a": 1}) == [minor, {"a": 1}, True]
    assert it.call(name, {"a": 2}) == [minor, {"a": 2}, True]


# --- failures -------------------------------------------------------------------------------------------------------


def test_given_an_exception_when_invoking_then_unhandled_with_type_message_and_stack(it: Lab) -> None:
    name = it.function("def handler(event, context):\n    raise KeyError('lost')\n")

    error, log = failed(it, name)

    assert (error["errorType"], error["errorMessage"]) == ("KeyError", "'lost'")
    assert "app.py" in error["stackTrace"][0]
    assert "[ERROR] KeyError" in log


def test_given_an_exception_when_invoking_again_then_the_environment_is_still_warm(it: Lab) -> None:
    name = it.function("def handler(event, context):\n    raise ValueError('no')\n")
    failed(it, name)
    failed(it, name)

    assert [e["cold"] for e in it.entries("invocation", function=name)] == [True, False]


def test_given_a_function_that_is_too_slow_when_invoking_then_timed_out_and_killed(it: Lab) -> None:
    name = it.function(COUNTER.replace("count += 1", "count += 1\n    import time\n    time.sleep(event.get('s', 0))"),
                       Timeout=1)  # fmt: skip

    error, log = failed(it, name, {"s": 30})

    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    assert "Status: timeout" in log
    assert it.call(name)["count"] == 1
    assert it.entries("invocation", function=name)[0]["outcome"] == "timeout"


def test_given_the_deadline_when_asking_for_the_remaining_time_then_it_counts_down_from_the_timeout(
    it: Lab,
) -> None:
    name = it.function(
        "def handler(event, context):\n    return context.get_remaining_time_in_millis()\n", Timeout=9
    )

    assert 8500 < it.call(name) <= 9000


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os\ndef handler(e, c):\n    os._exit(3)\n", "Runtime exited with error: exit status 3"),
        ("import os\ndef handler(e, c):\n    os._exit(0)\n", "Runtime exited without providing a reason"),
        (
            "import os\ndef handler(e, c):\n    os.kill(os.getpid(), 9)\n",
            "Runtime exited with error: signal: killed",
        ),
    ],
)
def test_given_a_process_that_ends_when_invoking_then_exit_error(it: Lab, source: str, message: str) -> None:
    name = it.function(source)

    error, _ = failed(it, name)

    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith(f"Error: {message}")


def test_given_a_module_that_is_missing_when_invoking_then_import_module_error_with_the_log(it: Lab) -> None:
    name = it.function("import absent_module\ndef handler(e, c):\n    return 1\n")

    error, log = failed(it, name)

    assert error["errorType"] == "Runtime.ImportModuleError"
    assert error["errorMessage"] == "Unable to import module 'app': No module named 'absent_module'"
    assert log.count("INIT_REPORT") == 2, "a failed init phase is run again inside the invocation"


def test_given_a_handler_that_is_missing_when_invoking_then_handler_not_found(it: Lab) -> None:
    error, _ = failed(it, it.function(ECHO, Handler="app.absent"))

    assert error["errorType"] == "Runtime.HandlerNotFound"


def test_given_more_memory_than_allowed_when_invoking_then_killed_and_attributed_with_advice(it: Lab) -> None:
    name = it.function(
        "import time\ndef handler(e, c):\n    x = b'x' * (300 << 20)\n    time.sleep(5)\n", MemorySize=128
    )

    error, log = failed(it, name)

    assert error["errorMessage"].endswith("Runtime exited with error: signal: killed")
    assert "KW622" in log
    assert "fix: set MemorySize to at least" in log
    assert "Error Type: Runtime.OutOfMemory" in log
    assert it.entries("invocation", function=name)[0]["outcome"] == "memory"


def test_given_a_child_process_that_eats_memory_when_invoking_then_it_counts(it: Lab) -> None:
    source = (
        "import subprocess, sys\n"
        "def handler(e, c):\n"
        "    subprocess.run([sys.executable, '-c', \"x = b'x' * (300 << 20); import time; time.sleep(5)\"])\n"
    )
    name = it.function(source, MemorySize=128, Timeout=10)

    failed(it, name)

    assert it.entries("invocation", function=name)[0]["outcome"] == "memory"


def test_given_one_file_over_the_ephemeral_storage_when_writing_it_then_the_write_fails(it: Lab) -> None:
    source = (
        "import os, tempfile\n"
        "def handler(e, c):\n"
        "    with open(os.path.join(tempfile.gettempdir(), 'big'), 'wb') as f:\n"
        "        f.truncate(513 << 20)\n"
    )

    error, _ = failed(it, it.function(source))

    assert error["errorType"] == "OSError"
    assert "File too large" in error["errorMessage"]


def test_given_many_files_over_the_ephemeral_storage_when_writing_them_then_killed_and_attributed(
    it: Lab,
) -> None:
    source = (
        "import os, tempfile, time\n"
        "def handler(e, c):\n"
        "    for n in range(3):\n"
        "        with open(os.path.join(tempfile.gettempdir(), str(n)), 'wb') as f:\n"
        "            os.posix_fallocate(f.fileno(), 0, 200 << 20)\n"
    )
    name = it.function(source, MemorySize=1024)

    error, log = failed(it, name)

    assert "No space left on device" in error["errorMessage"]
    assert "KW623" in log
    assert it.entries("invocation", function=name)[0]["outcome"] == "storage"


def test_given_a_response_over_6_mb_when_invoking_then_response_size_too_large(it: Lab) -> None:
    name = it.function("def handler(e, c):\n    return 'x' * (6 * 1024 * 1024 + 200)\n", MemorySize=512)

    error, _ = failed(it, name)

    assert error["errorType"] == "Function.ResponseSizeTooLarge"
    assert "6291556 bytes" in error["errorMessage"]


def test_given_an_event_of_5_mb_when_echoing_it_then_it_comes_back_whole(it: Lab) -> None:
    name = it.function(MemorySize=512)
    event = {"data": "x" * (5 * 1024 * 1024)}

    assert it.call(name, event) == event


def test_given_a_request_over_6_mb_when_invoking_then_request_too_large(it: Lab) -> None:
    with refused("RequestTooLargeException", "6291456 bytes"):
        it.client.invoke(FunctionName=it.function(), Payload=json.dumps("x" * (6 * 1024 * 1024)))


def test_given_a_payload_that_is_not_json_when_invoking_then_invalid_request_content(it: Lab) -> None:
    with refused("InvalidRequestContentException", "Could not parse request body into json"):
        it.client.invoke(FunctionName=it.function(), Payload="{broken")


def test_given_an_answer_that_is_not_json_when_invoking_then_a_marshal_error(it: Lab) -> None:
    error, _ = failed(it, it.function("def handler(e, c):\n    return {1, 2}\n"))

    assert error["errorType"] == "Runtime.MarshalError"


# --- logs -----------------------------------------------------------------------------------------------------------


def test_given_an_invocation_when_reading_the_log_then_start_lines_end_and_report(it: Lab) -> None:
    name = it.function(
        "import logging\ndef handler(e, c):\n    print('said')\n    logging.warning('warned')\n"
    )

    it.call(name)

    lines = it.log(name)
    assert lines[0].startswith("START RequestId: ")
    assert lines[1] == "said"
    assert lines[2].startswith("[WARNING]\t")
    assert lines[2].endswith("\twarned")
    assert lines[3].startswith("END RequestId: ")
    assert all(
        part in lines[4] for part in ("REPORT", "Billed Duration:", "Max Memory Used:", "Init Duration:")
    )


def test_given_a_role_that_may_not_write_logs_when_invoking_then_only_the_tail_has_the_lines(it: Lab) -> None:
    name = it.function("def handler(e, c):\n    print('said')\n", Role=it.role_for())

    answer = it.client.invoke(FunctionName=name, Payload="{}", LogType="Tail")

    assert "said" in base64.b64decode(answer["LogResult"]).decode()
    with refused("ResourceNotFoundException"):
        it.log(name)
    assert it.entries("access_denied", action="logs:PutLogEvents")


def test_given_json_logging_to_another_group_when_invoking_then_platform_events_there(it: Lab) -> None:
    name = it.function(ECHO, LoggingConfig={"LogFormat": "JSON", "LogGroup": "/mine"})

    it.call(name)

    events = it.cloud.boto("logs").filter_log_events(logGroupName="/mine")["events"]
    kinds = [json.loads(e["message"])["type"] for e in events]
    assert kinds == ["platform.start", "platform.report"]


# --- life of environments -------------------------------------------------------------------------------------------


def test_given_an_idle_environment_when_looking_at_its_process_then_it_is_frozen(it: Lab) -> None:
    name = it.function(COUNTER)
    pid = it.call(name)["pid"]

    def state() -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    assert eventually(lambda: state() == "T")
    assert it.call(name)["pid"] == pid


def test_given_an_idle_environment_that_was_killed_when_invoking_then_a_cold_start_and_no_error(
    it: Lab,
) -> None:
    name = it.function(COUNTER)
    pid = it.call(name)["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: ended(pid))

    assert it.call(name)["count"] == 1


def test_given_a_deleted_function_when_waiting_then_its_process_is_gone(it: Lab) -> None:
    name = it.function(COUNTER)
    pid = it.call(name)["pid"]

    it.client.delete_function(FunctionName=name)

    assert not Path(f"/proc/{pid}").exists()


def test_given_an_idle_environment_when_its_time_has_passed_then_it_is_stopped() -> None:
    clock = ManualClock()
    with lab(account="100000000003", clock=clock, idle_s=300) as it:
        name = it.function(COUNTER)
        first = it.call(name)["pid"]
        clock.advance(299)
        assert it.call(name)["pid"] == first

        clock.advance(300)

        eventually(lambda: it.entries("environment", function=name, state="stopped", why="expired"))
        assert it.call(name)["pid"] != first


def test_given_three_idle_environments_when_invoking_then_the_one_used_last_serves_again(it: Lab) -> None:
    from concurrent.futures import ThreadPoolExecutor

    name = it.function(COUNTER.replace("count += 1", "count += 1\n    import time\n    time.sleep(0.2)"))
    with ThreadPoolExecutor(3) as threads:
        pids = {r["pid"] for r in threads.map(lambda _: it.call(name), range(3))}
    assert len(pids) == 3

    served = {it.call(name)["pid"] for _ in range(3)}

    assert len(served) == 1


@pytest.mark.slow
def test_given_an_init_phase_over_10_s_when_invoking_then_it_is_run_again_on_the_functions_time(
    it: Lab,
) -> None:
    source = (
        "import os, tempfile, time\n"
        "mark = os.path.join(tempfile.gettempdir(), 'second')\n"
        "if not os.path.exists(mark):\n"
        "    open(mark, 'w').close()\n"
        "    time.sleep(30)\n"
        "def handler(event, context):\n"
        "    return 'served'\n"
    )
    name = it.function(source, Timeout=20)

    assert it.call(name) == "served"

    assert any("Phase: init\tStatus: timeout" in line for line in it.log(name))
