"""The embedded cloud as a whole: start, services, control paths, inventory, logs, leftovers.

Proves: one cloud in this process comes and goes without a trace; the front server finds services and words refusals.
Does not prove: behavior of single services (their own files) or of the process (test_cloud_cli.py).
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock, RealClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings, clean_stale
from keepwarm_localcloud.errors import CODES, LocalCloudError
from keepwarm_localcloud.processes import alive, start_time
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.registry import default_services
from keepwarm_localcloud.services.s3 import S3Service
from keepwarm_localcloud.services.sqs import SqsService
from keepwarm_localcloud.services.sts.service import StsService
from tests.support.patience import PATIENCE_S

ACCOUNT = "100000000005"
pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")


class Probe:
    """A service that does what the test says."""

    name = "probe"

    def __init__(self) -> None:
        self.events: list[str] = []
        self.answer: Response | Exception | None = Response(200, {}, b"probe")

    def start(self, context: Context) -> None:
        self.events.append("start")

    def stop(self) -> None:
        self.events.append("stop")

    def handle(self, request: Request) -> Response | None:
        self.events.append(request.path)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def inventory(self) -> dict[str, list[str]]:
        return {"things": ["b", "a"], "none": []}


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
def cloud(probe: Probe) -> Iterator[Cloud]:
    services: list[Any] = [S3Service(), SqsService(), StsService(), probe]
    with Cloud(CloudSettings(account_id=ACCOUNT), services=services) as cloud:
        yield cloud


def call(
    cloud: Cloud, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def signed(service: str) -> str:
    scope = f"test/20260101/us-east-1/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


# --- life --------------------------------------------------------------------------------------------------


def test_given_a_used_cloud_when_closed_then_nothing_is_left() -> None:
    threads = set(threading.enumerate())
    cloud = Cloud(CloudSettings(account_id="100000000006"), services=[S3Service(), SqsService()]).start()
    directory = cloud.directory
    cloud.boto("s3").create_bucket(Bucket="bucket")
    cloud.boto("s3").put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
    child = cloud.processes.spawn(["sleep", "100"], kind="task", name="t", env=dict(os.environ))
    guardian = cloud.processes.guardian_pid
    assert cloud.close() == {}
    assert cloud.close() == {}
    assert not directory.exists()
    assert child.returncode == -signal.SIGKILL
    assert start_time(guardian) == ""
    assert {t for t in threading.enumerate() if t.is_alive()} <= threads


def test_given_a_child_with_children_of_its_own_when_closed_then_all_are_gone() -> None:
    cloud = Cloud(CloudSettings(account_id="100000000006"), services=[]).start()
    # The grandchild leaves the process group and its parent: only the mark in its environment finds it.
    script = "import os, time; os.fork() or os.setsid(); os.write(1, b'%d\\n' % os.getpid()); time.sleep(100)"
    child = cloud.processes.spawn(
        [sys.executable, "-c", script], kind="task", name="t", env=dict(os.environ), stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    pids = [int(child.stdout.readline()) for _ in range(2)]
    child.stdout.close()
    assert [e["pid"] for e in cloud.processes.listing()] == [child.pid]
    assert cloud.close() == {}
    assert [alive(p) for p in pids] == [False, False]


def test_given_a_service_that_fails_to_stop_when_closed_then_the_others_stop_and_the_failure_is_told(
    probe: Probe,
) -> None:
    class Broken(Probe):
        name = "broken"

        def stop(self) -> None:
            raise RuntimeError("will not")

    cloud = Cloud(CloudSettings(account_id="100000000006"), services=[probe, Broken()]).start()
    assert cloud.close() == {"errors": ["broken: RuntimeError: will not"]}
    assert probe.events[-1] == "stop"
    with (
        pytest.raises(LocalCloudError) as told,
        Cloud(CloudSettings(account_id="100000000006"), services=[Broken()]),
    ):
        pass
    assert str(told.value) == (
        'KW606 localcloud close: got {"errors": ["broken: RuntimeError: will not"]}; allowed nothing left behind; '
        "because a service did not stop what it started; fix: report it with this line"
    )
    # A failure of the block itself is not hidden behind it.
    with (
        pytest.raises(ZeroDivisionError),
        Cloud(CloudSettings(account_id="100000000006"), services=[Broken()]),
    ):
        raise ZeroDivisionError


def test_given_a_service_that_fails_to_start_when_starting_then_nothing_is_left(probe: Probe) -> None:
    class Broken(Probe):
        name = "broken"

        def start(self, context: Context) -> None:
            raise RuntimeError("no")

    for _ in range(2):
        cloud = Cloud(CloudSettings(account_id="100000000006"), services=[probe, Broken()])
        with pytest.raises(RuntimeError, match="no"):
            cloud.start()
        assert probe.events == ["start", "stop"]
        probe.events.clear()


def test_given_two_clouds_when_their_accounts_differ_then_they_share_nothing(cloud: Cloud) -> None:
    with Cloud(CloudSettings(account_id="100000000007"), services=[S3Service()]) as other:
        cloud.boto("s3").create_bucket(Bucket="bucket")
        cloud.boto("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
        assert other.inventory() == {}
        assert other.boto("iam").list_roles()["Roles"] == []
    assert [r["RoleName"] for r in cloud.boto("iam").list_roles()["Roles"]] == ["r"]


def test_given_the_same_account_when_a_second_cloud_starts_in_the_process_then_kw602(cloud: Cloud) -> None:
    with pytest.raises(LocalCloudError, match="KW602"):
        Cloud(CloudSettings(account_id=ACCOUNT), services=[]).start()


def test_given_a_port_in_use_when_started_then_kw600_and_the_account_is_free_again(cloud: Cloud) -> None:
    settings = CloudSettings(account_id="100000000006", port=cloud.port)
    for _ in range(2):
        with pytest.raises(LocalCloudError, match="KW600"):
            Cloud(settings, services=[]).start()


def test_given_a_directory_when_closed_then_only_what_the_cloud_made_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    settings = CloudSettings(account_id="100000000006", directory=tmp_path)
    with Cloud(settings, services=[S3Service()]) as cloud:
        cloud.boto("s3").create_bucket(Bucket="bucket")
        cloud.boto("s3").put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
        with pytest.raises(LocalCloudError, match="KW603"):
            Cloud(CloudSettings(account_id="100000000008", directory=tmp_path), services=[]).start()
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_given_a_folder_of_a_dead_cloud_when_cleaned_then_removed_and_those_of_the_living_stay(
    tmp_path: Path,
) -> None:
    dead, alive, young = (tmp_path / f"keepwarm-cloud-{n}" for n in ("dead", "alive", "young"))
    for path in (dead, alive, young):
        path.mkdir()
    (dead / "cloud.json").write_text(json.dumps({"pid": os.getpid(), "start": "1"}))
    (alive / "cloud.json").write_text(json.dumps({"pid": os.getpid(), "start": start_time(os.getpid())}))
    assert clean_stale(tmp_path) == [dead]
    assert sorted(p.name for p in tmp_path.iterdir()) == [alive.name, young.name]


def test_given_a_cloud_that_is_not_running_when_used_then_kw605() -> None:
    cloud = Cloud(services=[])
    for use in (lambda: cloud.endpoint, lambda: cloud.directory, lambda: cloud.processes):
        with pytest.raises(LocalCloudError, match="KW605"):
            use()
    cloud.close()
    with pytest.raises(LocalCloudError, match="KW605"):
        cloud.start()


def test_given_every_code_when_listed_then_in_this_rooms_block() -> None:
    assert all("KW600" <= code <= "KW649" for code in CODES)


def test_given_the_default_services_when_made_then_their_names_differ() -> None:
    names = [s.name for s in default_services()]
    assert {"s3", "sqs", "sts"} <= set(names)
    assert len(names) == len(set(names))


# --- the front ---------------------------------------------------------------------------------------------


def test_given_a_signed_request_when_it_names_a_service_then_that_one_answers(
    cloud: Cloud, probe: Probe
) -> None:
    status, headers, body = call(cloud, "GET", "/path", authorization=signed("probe"))
    assert (status, body, probe.events) == (200, b"probe", ["start", "/path"])
    assert len(headers["x-amzn-requestid"]) == 36


def test_given_a_service_that_leaves_a_request_when_moto_knows_it_then_moto_answers(cloud: Cloud) -> None:
    assert cloud.boto("sts").get_session_token()["Credentials"]["AccessKeyId"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_amz_target": "Probe_1.Do", "content_type": "application/x-amz-json-1.0"}, b'"__type": "Wrong"'),
        (
            {"content_type": "application/x-www-form-urlencoded"},
            b"<ErrorResponse><Error><Type>Sender</Type><Code>Wrong",
        ),
        ({"smithy_protocol": "rpc-v2-cbor"}, b"\xa2\x66__type\x65Wrong\x67message"),
        ({}, b'"message": "because <&>"'),
    ],
)
def test_given_a_refusal_when_rendered_then_in_the_protocol_of_the_request(
    cloud: Cloud, probe: Probe, headers: dict[str, str], expected: bytes
) -> None:
    probe.answer = AwsError("Wrong", "because <&>", 418)
    status, got, body = call(cloud, "POST", "/", b"", authorization=signed("probe"), **headers)
    assert status == 418
    assert expected in body
    assert "x-amzn-requestid" in got


def test_given_a_defect_in_a_service_when_it_raises_then_500_and_a_journal_entry(
    cloud: Cloud, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe.answer = ZeroDivisionError("oops")
    status, _, body = call(cloud, "POST", "/", authorization=signed("probe"))
    assert (status, b"ZeroDivisionError" in body) == (500, True)
    assert cloud.journal.since(kind="internal_error")[0].facts["service"] == "probe"
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"host": "169.254.169.254"}]
)
def test_given_a_page_in_a_browser_when_it_calls_then_refused(cloud: Cloud, headers: dict[str, str]) -> None:
    assert call(cloud, "GET", "/_keepwarm/inventory", b"", **headers)[0] == 403


def test_given_a_session_key_of_another_cloud_when_used_then_refused(cloud: Cloud) -> None:
    header = signed("probe").replace("Credential=test", "Credential=ASIA0123456789ABCDEF")
    status, _, body = call(cloud, "GET", "/", authorization=header)
    assert (status, b"security token" in body) == (403, True)


# --- control paths -----------------------------------------------------------------------------------------


def test_given_the_control_paths_when_read_then_json(cloud: Cloud) -> None:
    assert json.loads(call(cloud, "GET", "/_keepwarm/health")[2])["services"] == ["probe", "s3", "sqs", "sts"]
    assert json.loads(call(cloud, "GET", "/_keepwarm/processes")[2]) == []
    assert json.loads(call(cloud, "PUT", "/_keepwarm/image-mirrors", b'{"r": "/d"}')[2]) == {"r": "/d"}
    assert cloud.image_mirrors == {"r": "/d"}
    assert call(cloud, "GET", "/_keepwarm/none")[0] == 404
    assert call(cloud, "GET", "/_keepwarm/journal?since=x")[0] == 400


def test_given_the_journal_when_followed_then_a_waiting_reader_gets_the_next_entry(cloud: Cloud) -> None:
    last = cloud.journal.write("test").sequence
    got: list[Any] = []
    reader = threading.Thread(
        target=lambda: got.extend(
            json.loads(call(cloud, "GET", f"/_keepwarm/journal?since={last}&wait_s=10")[2])
        )
    )
    reader.start()
    cloud.journal.write("test", number=2)
    reader.join(PATIENCE_S)
    assert [(e["kind"], e["number"]) for e in got] == [("test", 2)]


def test_given_resources_when_listed_then_each_service_has_its_own_and_defaults_are_left_out(
    cloud: Cloud,
) -> None:
    cloud.boto("ec2").describe_vpcs()
    cloud.boto("kms").create_key()
    cloud.boto("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    cloud.boto("sqs").create_queue(QueueName="q")
    cloud.boto("ssm").put_parameter(Name="p", Value="v", Type="String")
    cloud.boto("events").put_rule(Name="rule", ScheduleExpression="rate(1 day)")
    subnet = cloud.boto("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    run = {"MinCount": 1, "MaxCount": 1, "SubnetId": subnet, "InstanceType": "t3.micro"}
    instance = cloud.boto("ec2").run_instances(ImageId="ami-12345678", **run)["Instances"][0]["InstanceId"]
    found = cloud.inventory()
    assert found["iam"] == {"roles": ["r"]}
    assert found["sqs"] == {"queues": ["q"]}
    assert found["probe"] == {"things": ["a", "b"]}
    assert len(found["kms"]["keys"]) == 1
    assert found["ec2"] == {"instances": [instance]}
    assert (found["ssm"], found["events"]) == ({"parameters": ["p"]}, {"rules": ["rule"]})
    cloud.boto("ec2").terminate_instances(InstanceIds=[instance])
    assert "ec2" not in cloud.inventory()


def test_given_the_public_parameters_when_read_then_the_gpu_image_resolves(cloud: Cloud) -> None:
    name = "/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"
    image = cloud.boto("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    found = cloud.boto("ec2").describe_images(ImageIds=[image])["Images"]
    assert ["gpu" in i["Name"] for i in found] == [True]
    assert list(cloud.inventory()) == ["probe"]


# --- logs and metrics --------------------------------------------------------------------------------------


def test_given_lines_when_put_then_events_metrics_and_result_entries(cloud: Cloud) -> None:
    now_ms = int(time.time() * 1000)
    metrics = {
        "_aws": {
            "Timestamp": now_ms,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Keepwarm",
                    "Dimensions": [["Service"]],
                    "Metrics": [{"Name": "Backlog", "Unit": "Count"}],
                }
            ],
        },
        "Service": "gpu",
        "Backlog": [3, 5],
    }
    result = {"event": "keepwarm.result", "outcome": "ok"}
    cloud.logs.put(
        "/aws/lambda/f", "s", ["hello\n", "", json.dumps(metrics), json.dumps(result), "x" * 1_100_000]
    )
    events = cloud.boto("logs").get_log_events(
        logGroupName="/aws/lambda/f", logStreamName="s", startFromHead=True
    )["events"]
    assert [len(e["message"]) for e in events[-2:]] == [1_048_550, 51_450]
    assert events[0]["message"] == "hello"
    points = cloud.boto("cloudwatch").get_metric_statistics(
        Namespace="Keepwarm",
        MetricName="Backlog",
        Dimensions=[{"Name": "Service", "Value": "gpu"}],
        StartTime=now_ms / 1000 - 120,
        EndTime=now_ms / 1000 + 60,
        Period=60,
        Statistics=["Sum", "Maximum", "SampleCount"],
    )["Datapoints"]
    assert [(p["Sum"], p["Maximum"], p["SampleCount"]) for p in points] == [(8.0, 5.0, 2.0)]
    assert [e.facts["event"] for e in cloud.journal.since(kind="result")] == [result]


def test_given_broken_metric_lines_when_put_then_kept_as_logs_and_nothing_fails(cloud: Cloud) -> None:
    lines = [
        '{"_aws": 1}',
        '{"_aws"',
        '[1, "_aws"]',
        '{"_aws": {"CloudWatchMetrics": [{"Metrics": [{"Name": "x"}]}]}, "x": "text"}',
    ]
    cloud.logs.put("g", "s", lines)
    events = cloud.boto("logs").get_log_events(logGroupName="g", logStreamName="s", startFromHead=True)[
        "events"
    ]
    assert [e["message"] for e in events] == lines


# --- clocks ------------------------------------------------------------------------------------------------


def test_given_a_manual_clock_when_advanced_before_the_wait_then_the_wait_is_over() -> None:
    clock, condition = ManualClock(), threading.Condition()
    at_s = clock.now_s() + 5
    clock.advance(5)
    with condition:
        assert clock.wait_until(condition, at_s) is False


class _EndsByItself(threading.Condition):
    """Any bounded wait may end by itself in the very instant of a notification, which then reaches nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.notified = threading.Event(), threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None or self.notified.is_set():
            self.waiting.set()
            return super().wait(timeout)
        self.release()
        self.waiting.set()
        self.notified.wait()
        self.acquire()
        return False


def test_given_a_manual_clock_when_a_waiter_is_notified_at_any_instant_then_it_is_awake() -> None:
    clock, condition, awake = ManualClock(), _EndsByItself(), threading.Event()

    def wait() -> None:
        with condition:
            clock.wait(condition, 3600)
        awake.set()

    threading.Thread(target=wait, daemon=True).start()
    assert condition.waiting.wait(PATIENCE_S)
    with condition:
        condition.notify_all()
        condition.notified.set()
    assert awake.wait(PATIENCE_S)


def test_given_two_waiters_on_one_condition_when_the_first_left_then_an_advance_still_wakes_the_second() -> (
    None
):
    clock, condition = ManualClock(), threading.Condition()
    at_s = clock.now_s()
    over: list[int] = []

    def wait(after_s: int) -> None:
        with condition:
            while clock.now_s() < at_s + after_s:
                clock.wait_until(condition, at_s + after_s)
        over.append(after_s)

    waiters = [threading.Thread(target=wait, args=(after_s,), daemon=True) for after_s in (1, 2)]
    for waiter in waiters:
        waiter.start()
    for waiter in waiters:
        clock.advance(1)
        waiter.join(PATIENCE_S)
    assert over == [1, 2]


def test_given_a_real_clock_when_waiting_for_a_past_moment_then_at_once() -> None:
    condition = threading.Condition()
    with condition:
        assert RealClock().wait_until(condition, time.time() - 1) is False


def test_given_a_clock_when_moved_back_then_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        ManualClock().advance(-1)


def test_given_boto_errors_when_the_service_is_moto_then_as_moto_words_them(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as error:
        cloud.boto("iam").get_role(RoleName="none")
    assert error.value.response["Error"]["Code"] == "NoSuchEntity"
