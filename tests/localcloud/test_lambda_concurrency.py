"""Concurrency: the account's, reserved and provisioned, with throttles, spill-over and the move to a new version.

Proves who is served and who is refused, with real processes. Does not prove how fast AWS provisions.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm import limits
from keepwarm_localcloud.clockwork.clock import ManualClock
from tests.support.lambdas import ECHO, Lab, archive, eventually, lab, refused

WHO = """
import os
kind = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
def handler(event, context):
    return {"kind": kind, "pid": os.getpid(), "version": context.function_version}
"""
HOLD = """
import os, time
def handler(event, context):
    while not os.path.exists(event["until"]):
        time.sleep(0.01)
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""
BROKEN = "print('about to fail')\nraise RuntimeError('no model')\n"


@pytest.fixture(scope="module")
def it() -> Iterator[Lab]:
    with lab(account="100000000004") as running:
        yield running


class Held:
    """Invocations that run until they are let go."""

    def __init__(self, it: Lab, directory: Path) -> None:
        self._it = it
        self._until = directory / "go"
        self._threads = ThreadPoolExecutor(8)
        self._running: list[Any] = []

    def start(self, name: str, count: int, **options: Any) -> None:
        before = sum(e["active"] for e in self._it.entries("concurrency", function=name)[-1:])
        payload = {"until": str(self._until)}
        self._running += [self._threads.submit(self._it.call, name, payload, **options) for _ in range(count)]
        eventually(lambda: self._it.entries("concurrency", function=name, active=before + count))

    def finish(self) -> list[Any]:
        self._until.touch()
        results = [future.result() for future in self._running]
        self._threads.shutdown()
        return results


@pytest.fixture
def held(it: Lab, tmp_path: Path) -> Iterator[Held]:
    holder = Held(it, tmp_path)
    yield holder
    holder.finish()


# --- reserved -------------------------------------------------------------------------------------------------------


def test_given_reserved_concurrency_in_use_when_invoking_then_429_with_reason_and_retry_after(
    it: Lab, held: Held
) -> None:
    name = it.function(HOLD, Timeout=30)
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    held.start(name, 2)

    with pytest.raises(ClientError) as caught:
        it.call(name)

    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert answer["Error"]["Code"] == "TooManyRequestsException"
    assert answer["Error"]["Message"] == "Rate Exceeded."
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert answer["retryAfterSeconds"] == "1"
    assert it.entries("throttle", function=name)
    assert held.finish() == ["on-demand", "on-demand"]


def test_given_reserved_concurrency_0_when_invoking_then_throttled(it: Lab) -> None:
    name = it.function()
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)

    with refused("TooManyRequestsException"):
        it.call(name)


def test_given_less_than_100_would_be_left_when_reserving_then_refused(it: Lab) -> None:
    with refused(
        "InvalidParameterValueException", "UnreservedConcurrentExecution below its minimum value of [100]"
    ):
        it.client.put_function_concurrency(FunctionName=it.function(), ReservedConcurrentExecutions=901)


def test_given_a_reservation_when_deleting_it_then_the_account_has_it_back(it: Lab) -> None:
    name = it.function()
    before = it.client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=50)
    assert it.client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == before - 50

    it.client.delete_function_concurrency(FunctionName=name)

    assert it.client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == before


def test_given_the_accounts_concurrency_in_use_when_invoking_another_function_then_throttled(
    tmp_path: Path,
) -> None:
    with lab(account="100000000005", concurrency=2) as it:
        held = Held(it, tmp_path)
        held.start(it.function(HOLD, Timeout=30), 2)
        other = it.function()

        with pytest.raises(ClientError) as caught:
            it.call(other)

        assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        held.finish()
        assert it.call(other, {"a": 1}) == {"a": 1}


def test_given_the_scaling_rate_used_up_then_new_environments_are_throttled() -> None:
    clock = ManualClock()
    with lab(account="100000000006", clock=clock) as it:
        name = it.function()
        burst = it.service.functions.functions[name].burst
        while burst.try_take(clock.now_s()):
            pass

        with pytest.raises(ClientError) as caught:
            it.call(name)
        assert caught.value.response["Reason"] == "FunctionInvocationRateLimitExceeded"

        clock.advance(0.02)
        assert it.call(name, {"a": 1}) == {"a": 1}


# --- provisioned ----------------------------------------------------------------------------------------------------


def test_given_provisioned_concurrency_when_ready_then_an_invocation_is_not_cold(it: Lab) -> None:
    name = it.published(WHO)

    status = it.provision(name, 2)

    assert status["AllocatedProvisionedConcurrentExecutions"] == 2
    assert status["AvailableProvisionedConcurrentExecutions"] == 2
    served = it.call(name, Qualifier="live")
    assert served["kind"] == "provisioned-concurrency"
    entry = it.entries("invocation", function=name)[0]
    assert (entry["cold"], entry["pool"], entry["spillover"]) == (False, "provisioned", False)
    it.client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="live")


def test_given_provisioned_concurrency_when_putting_it_then_in_progress_first(it: Lab) -> None:
    name = it.published("import time\ntime.sleep(0.3)\ndef handler(e, c):\n    return 1\n")

    answer = it.client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=1
    )

    assert (answer["Status"], answer["AllocatedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 0)
    listed = it.client.list_provisioned_concurrency_configs(FunctionName=name)[
        "ProvisionedConcurrencyConfigs"
    ]
    assert listed[0]["FunctionArn"].endswith(f":{name}:live")
    it.provisioned(name)


def test_given_all_provisioned_busy_when_invoking_then_it_spills_over_to_on_demand(
    it: Lab, held: Held
) -> None:
    name = it.published(HOLD, Timeout=30)
    it.provision(name, 1)
    held.start(name, 1, Qualifier="live")

    held.start(name, 1, Qualifier="live")

    assert sorted(held.finish()) == ["on-demand", "provisioned-concurrency"]
    spilled = [e["spillover"] for e in it.entries("invocation", function=name)]
    assert sorted(spilled) == [False, True]


def test_given_a_warm_pool_when_invoking_then_its_utilization_is_a_metric_of_the_alias(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 2)

    it.call(name, Qualifier="live")

    def points() -> Any:
        now = datetime.now(UTC)
        return it.cloud.boto("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda", MetricName="ProvisionedConcurrencyUtilization", Period=60, Statistics=["Maximum"],
            Dimensions=[{"Name": "FunctionName", "Value": name}, {"Name": "Resource", "Value": f"{name}:live"}],
            StartTime=now - timedelta(minutes=5), EndTime=now + timedelta(minutes=5),
        )["Datapoints"]  # fmt: skip

    assert [p["Maximum"] for p in eventually(points)] == [0.5]


def test_given_reserved_equals_provisioned_when_it_is_busy_then_throttled_and_not_spilled(
    it: Lab, held: Held
) -> None:
    name = it.published(HOLD, Timeout=30)
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    it.provision(name, 1)
    held.start(name, 1, Qualifier="live")

    with refused("TooManyRequestsException"):
        it.call(name, {"until": "/"}, Qualifier="live")


def test_given_provisioned_on_the_alias_when_invoking_the_version_itself_then_on_demand(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 1)

    assert it.call(name, Qualifier="1")["kind"] == "on-demand"


def test_given_an_init_that_fails_when_provisioning_then_failed_with_the_log_in_the_reason(it: Lab) -> None:
    name = it.published(BROKEN)

    status = it.provision(name, 2, until="FAILED")

    assert "FUNCTION_ERROR_INIT_FAILURE" in status["StatusReason"]
    assert "no model" in status["StatusReason"]
    assert "about to fail" in status["StatusReason"]
    assert status["AllocatedProvisionedConcurrentExecutions"] == 0


@pytest.mark.parametrize(
    ("least_s", "timeout_s", "status"), [(130, 1, "READY"), (0, 20, "READY"), (0, 1, "FAILED")]
)
def test_given_a_slow_init_when_provisioning_then_it_has_130_s_or_the_timeout_of_the_function(
    it: Lab, monkeypatch: pytest.MonkeyPatch, least_s: int, timeout_s: int, status: str
) -> None:
    assert limits.LAMBDA_PROVISIONED_INIT_MIN_S == 130
    monkeypatch.setattr(limits, "LAMBDA_PROVISIONED_INIT_MIN_S", least_s)
    # The ordinary limit of an init phase does not count here.
    monkeypatch.setattr(limits, "LAMBDA_INIT_MAX_S", 0.01)
    pause_s = 1.2 if timeout_s == 1 else 0.2
    name = it.published(f"import time; time.sleep({pause_s})\n{ECHO}", Timeout=timeout_s)

    it.provision(name, 1, until=status)


def test_given_a_provisioned_environment_that_dies_when_waiting_then_another_takes_its_place(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 1)
    first = it.call(name, Qualifier="live")["pid"]

    os.kill(first, signal.SIGKILL)

    eventually(lambda: it.entries("environment", function=name, state="stopped", why="died"))
    it.provisioned(name)
    eventually(
        lambda: it.client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")[
            "AvailableProvisionedConcurrentExecutions"
        ]
    )
    served = it.call(name, Qualifier="live")
    assert served["kind"] == "provisioned-concurrency"
    assert served["pid"] != first


def test_given_provisioned_concurrency_when_deleting_it_then_its_processes_are_gone(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 1)
    pid = it.call(name, Qualifier="live")["pid"]

    it.client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="live")

    assert not Path(f"/proc/{pid}").exists()
    with refused("ProvisionedConcurrencyConfigNotFoundException", "No Provisioned Concurrency Config found"):
        it.client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")


def test_given_fewer_are_wanted_when_putting_again_then_the_rest_is_stopped(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 3)

    status = it.provision(name, 1)

    assert status["AllocatedProvisionedConcurrentExecutions"] == 1
    assert len(it.entries("environment", function=name, state="stopped", why="retired")) == 2


@pytest.mark.parametrize(
    ("qualifier", "count", "words"),
    [
        ("$LATEST", 1, "cannot be applied to unpublished function versions"),
        ("mixed", 1, "Alias with weights can not be used with Provisioned Concurrency"),
        ("live", 901, "UnreservedConcurrentExecution below its minimum value of [100]"),
    ],
)
def test_given_a_qualifier_that_cannot_have_it_when_provisioning_then_refused(
    it: Lab, qualifier: str, count: int, words: str
) -> None:
    name = it.published(WHO)
    it.client.update_function_configuration(FunctionName=name, Timeout=9)
    it.client.publish_version(FunctionName=name)
    it.client.create_alias(
        FunctionName=name,
        Name="mixed",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.1}},
    )

    with refused("InvalidParameterValueException", words):
        it.provision(name, count, qualifier)


def test_given_reserved_concurrency_when_provisioning_more_then_refused(it: Lab) -> None:
    name = it.published(WHO)
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)

    with refused(
        "InvalidParameterValueException", "should not be greater than the reservedConcurrentExecution"
    ):
        it.provision(name, 2)


def test_given_provisioned_concurrency_when_reserving_less_then_refused(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 2)

    with refused("InvalidParameterValueException", "Provisioned Concurrency"):
        it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)


def test_given_provisioned_on_an_alias_when_giving_its_version_some_too_then_refused(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 1)

    with refused("InvalidParameterValueException"):
        it.provision(name, 1, "1")


def test_given_snapstart_when_provisioning_then_refused(it: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.lambdas import RUNTIME

    monkeypatch.setattr("keepwarm.limits.SNAPSTART_RUNTIMES", frozenset({RUNTIME}))
    name = it.published(WHO, SnapStart={"ApplyOn": "PublishedVersions"})

    with refused("InvalidParameterValueException", "SnapStart"):
        it.provision(name, 1)


def test_given_snapstart_when_invoking_a_version_then_restore_hooks_run_and_the_type_says_so(
    it: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.lambdas import RUNTIME

    monkeypatch.setattr("keepwarm.limits.SNAPSTART_RUNTIMES", frozenset({RUNTIME}))
    source = (
        "from snapshot_restore_py import register_after_restore\n" + WHO + "\n"
        "@register_after_restore\n"
        "def restored():\n"
        "    global kind\n"
        "    kind += ' restored'\n"
    )
    name = it.published(source, SnapStart={"ApplyOn": "PublishedVersions"})

    assert it.call(name, Qualifier="live")["kind"] == "snap-start restored"
    assert it.call(name)["kind"] == "on-demand", "$LATEST has no snapshot"


# --- the move to a new version --------------------------------------------------------------------------------------


def next_version(it: Lab, name: str, source: str) -> str:
    it.client.update_function_code(FunctionName=name, ZipFile=archive({"app.py": source}))
    number: str = it.client.publish_version(FunctionName=name)["Version"]
    return number


def test_given_an_alias_with_provisioned_when_it_moves_on_then_no_request_is_cold(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 1)
    number = next_version(it, name, "import time\ntime.sleep(0.3)\n" + WHO)

    it.client.update_alias(FunctionName=name, Name="live", FunctionVersion=number)

    during = it.client.get_alias(FunctionName=name, Name="live")
    assert during["RoutingConfig"] == {"AdditionalVersionWeights": {"1": 1.0}}
    versions = [it.call(name, Qualifier="live")["version"]]
    it.provisioned(name)
    versions.append(it.call(name, Qualifier="live")["version"])
    assert versions == ["1", "2"]
    assert "RoutingConfig" not in it.client.get_alias(FunctionName=name, Name="live")
    assert [e["cold"] for e in it.entries("invocation", function=name)] == [False, False]
    eventually(lambda: it.entries("environment", function=name, version="1", state="stopped"))


def test_given_a_new_version_that_fails_to_start_when_the_alias_moves_then_the_old_one_serves_on(
    it: Lab,
) -> None:
    name = it.published(WHO)
    it.provision(name, 1)
    number = next_version(it, name, BROKEN)

    it.client.update_alias(FunctionName=name, Name="live", FunctionVersion=number)

    failed = it.provisioned(name, until="FAILED")
    assert "no model" in failed["StatusReason"]
    served = it.call(name, Qualifier="live")
    assert (served["version"], served["kind"]) == ("1", "provisioned-concurrency")
    it.client.update_alias(FunctionName=name, Name="live", FunctionVersion="1")
    it.provisioned(name)
    assert it.call(name, Qualifier="live")["pid"] == served["pid"]
    assert "RoutingConfig" not in it.client.get_alias(FunctionName=name, Name="live")


def test_given_an_alias_with_provisioned_when_giving_it_weights_then_refused(it: Lab) -> None:
    name = it.published(WHO)
    it.provision(name, 1)
    number = next_version(it, name, ECHO)

    with refused(
        "InvalidParameterValueException", "Alias with weights can not be used with Provisioned Concurrency"
    ):
        it.client.update_alias(
            FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {number: 0.1}}
        )


# --- many at once ---------------------------------------------------------------------------------------------------


def test_given_many_callers_at_once_when_invoking_then_each_gets_its_own_answer(it: Lab) -> None:
    name = it.function()
    it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=4)
    lock, answers, throttled = threading.Lock(), set[int](), []

    def call(number: int) -> None:
        try:
            answer = it.service.invoke(name, json.dumps({"n": number}).encode())
            with lock:
                answers.add(json.loads(answer.payload)["n"])
        except Exception as error:
            throttled.append(error)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call, range(100)))

    assert len(answers) + len(throttled) == 100
    assert len(answers) >= 4
    active = [e["active"] for e in it.entries("concurrency", function=name)]
    assert max(active) <= 4
