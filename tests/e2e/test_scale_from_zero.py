"""A deployed GpuService that sleeps at zero: the demand of a deployed function wakes it, silence puts it back to sleep.

The whole chain is the stack's own: the function's admission client emits `Backlog`, its log becomes a metric, the
component's alarm rings, its policy moves the desired count, ECS starts a process, Cloud Map tells the function where.
Minutes pass on a clock moved by hand. Does not prove GPU placement (tests/localcloud/test_ecs_capacity) nor the delays
of AWS's own alarms.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest

import keepwarm as kw
from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.engine.driver import Deployment
from tests.support import patience

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("stack"),
    pytest.mark.filterwarnings("ignore:SOCKS support in urllib3"),
]

ROOT = Path(__file__).parents[2]
SERVER = """
import http.server, os, signal, threading
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b'{"answer": 42}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *arguments):
        pass
port = int(os.environ.get("KEEPWARM_PORT") or os.environ["PORT"])
server = http.server.ThreadingHTTPServer(("0.0.0.0", port), Page)
signal.signal(signal.SIGTERM, lambda *arguments: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""
HANDLER = """
import keepwarm_runtime.invocation as runtime
from keepwarm_runtime.warm import WARM


@runtime.handler(service="ask")
def handler(event, invocation):
    with WARM.admission().permit(deadline=invocation.deadline, hold_s=2, invocation=invocation):
        answer = WARM.service().post("/v1/ask", b"{}", deadline=invocation.deadline, idempotency_key="key")
    return answer.json()
"""
IDLE_MINUTES = 3


@pytest.fixture
def clock() -> ManualClock:
    # On a full minute, so that the first period begins where the test begins.
    return ManualClock(float(int(time.time()) // 60 * 60))


@pytest.fixture
def cloud(clock: ManualClock) -> Iterator[Cloud]:
    with Cloud(CloudSettings(account_id="123456789031", clock=clock)) as running:
        yield running
        assert running.inventory() == {}, "the stack was destroyed, yet this is left"


@pytest.fixture
def image(tmp_path: Path) -> str:
    (tmp_path / "main.py").write_text(SERVER)
    (tmp_path / "config.json").write_text(json.dumps({"Entrypoint": ["python", "${ROOT}/main.py"]}))
    return f"file://{tmp_path}"


def program(image: str, note: str = "first") -> Callable[[], None]:
    def stack() -> None:
        reader = kw.GpuService(
            "reader",
            {
                "image": image,
                "gpus": 0,
                "capacity": kw.Capacity.FARGATE,
                # One: how often a slow machine asks while it waits decides nothing about the count then.
                "max_tasks": 1,
                "idle_minutes": IDLE_MINUTES,
                "environment": {"NOTE": note},
                "network_path": kw.NetworkPath.NAT,
                "drain_s": 5,
            },
        )
        admission = kw.Admission("admission", {"pools": {"reader": reader.permits()}})
        asking: kw.RuntimeFunctionArgs = {
            "code": pulumi.AssetArchive(
                {
                    "handler.py": pulumi.StringAsset(HANDLER),
                    "keepwarm_runtime": pulumi.FileArchive(str(ROOT / "functions" / "keepwarm_runtime")),
                }
            ),
            "runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
            "timeout_s": 30,
            "service": reader.binding(),
            "admission": admission.binding("reader"),
        }
        ask = kw.RuntimeFunction("ask", {**asking, **reader.caller_network()})
        pulumi.export("cluster", reader.cluster_name)
        pulumi.export("service", reader.service_name)
        pulumi.export("ask", ask.arn)

    return stack


class Stack:
    """The deployed stack, asked from outside."""

    def __init__(self, cloud: Cloud, deployment: Deployment) -> None:
        self.cloud, self.deployment = cloud, deployment

    def service(self) -> dict[str, Any]:
        outputs = self.deployment.outputs
        told = self.cloud.boto("ecs").describe_services(
            cluster=outputs["cluster"], services=[outputs["service"]]
        )
        found: dict[str, Any] = told["services"][0]
        return found

    @property
    def desired(self) -> int:
        return int(self.service()["desiredCount"])

    @property
    def running(self) -> int:
        return int(self.service()["runningCount"])

    def ask(self) -> Any:
        """Let the function use the service; its answer, or the name of its error."""
        answer = self.cloud.boto("lambda").invoke(FunctionName=self.deployment.outputs["ask"], Payload=b"{}")
        body = json.loads(answer["Payload"].read())
        return body["errorType"] if "FunctionError" in answer else body

    def scaled(self) -> list[tuple[int, int]]:
        """Every change of the desired count that a scaling policy made."""
        facts = [entry.facts for entry in self.cloud.journal.since(kind="scaling")]
        return [(int(f["from"]), int(f["to"])) for f in facts]


def until(condition: Callable[[], Any], what: str, clock: ManualClock, step_s: float = 0.05) -> Any:
    """Wait (bounded, real time) while the cloud's clock moves on by `step_s` each time it is asked.

    Waiting for a process moves the clock no faster than real time: on a busy machine the process takes long, and
    minutes of demand or of silence would pass for the autoscaler before it is there.
    """

    def look() -> Any:
        value = condition()
        if not value:
            clock.advance(step_s)
        return value

    return patience.until(look, what, pause_s=0.05)


def test_given_a_service_at_zero_when_a_function_wants_it_then_it_wakes_serves_and_sleeps_again(
    cloud: Cloud, clock: ManualClock, image: str
) -> None:
    deployment = Deployment(cloud.endpoint, project="zero", stack="test")
    deployment.up(program(image))
    stack = Stack(cloud, deployment)
    assert (stack.desired, stack.running) == (0, 0)

    # Nobody is there yet; the refused call is what wakes the service.
    assert stack.ask() == "NotReady"
    until(lambda: stack.desired == 1, "the alarm on the callers' own metric never rang", clock, 1)
    until(lambda: stack.running == 1, "no task came to run", clock)
    until(lambda: stack.ask() == {"answer": 42}, "the task never served", clock)

    # The autoscaler owns the count: a deployment that changes the service leaves it, even one that looked before.
    deployment.refresh()
    changed = deployment.up(program(image, note="second")).changed()
    assert any(urn.endswith("reader-service") for urn in changed)
    assert stack.desired == 1
    until(lambda: stack.ask() == {"answer": 42}, "the new deployment never served", clock)

    until(lambda: stack.desired == 0, "silence never put it back to zero", clock, 20)
    until(lambda: stack.running == 0, "the task never ended", clock)
    assert stack.scaled() == [(0, 1), (1, 0)]
    deployment.destroy()
    deployment.close()


def test_given_a_service_with_running_tasks_when_destroyed_then_nothing_is_left(
    cloud: Cloud, clock: ManualClock, image: str
) -> None:
    deployment = Deployment(cloud.endpoint, project="zero", stack="test")
    deployment.up(program(image))
    stack = Stack(cloud, deployment)
    assert stack.ask() == "NotReady"
    until(lambda: stack.running == 1, "no task came to run", clock, 1)

    deployment.destroy()
    deployment.close()
