"""Observability, PrivateEndpoints, ServerlessRuntime: what rings, what is reachable, what a stack is made of."""

import json
from typing import Any

import pytest

import keepwarm as kw
from keepwarm.phases import PHASES
from keepwarm.watch import spec as watched
from tests.support import samples
from tests.support.deployed import DEFAULT_VPC, deploy, refusal

ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
DASHBOARD = "aws:cloudwatch/dashboard:Dashboard"


def observe(**args: Any) -> Any:
    return lambda: kw.Observability("o", {"functions": {"classify": "classify-1"}, **args})  # type: ignore[typeddict-item]


# --- Observability


def test_given_budgets_when_deployed_then_each_phase_rings_at_the_slowest_function() -> None:
    seen = deploy(observe(functions={"a": "a-1", "b": "b-1"}, budgets_ms={"fetch": 500, "total": 2000}))
    fetch = seen.one(ALARM, "o-budget-fetch")
    assert fetch["threshold"] == 500
    metrics = [query["metric"] for query in fetch["metricQueries"] if "metric" in query]
    assert [(m["metricName"], m["dimensions"], m["stat"]) for m in metrics] == [
        ("phase_fetch_ms", {"function": "a-1"}, "p99"),
        ("phase_fetch_ms", {"function": "b-1"}, "p99"),
    ]
    assert fetch["metricQueries"][-1]["expression"] == "MAX([m0, m1])"
    total = seen.one(ALARM, "o-budget-total")
    assert total["metricQueries"][0]["metric"]["metricName"] == "init_ms"
    goodput = seen.one(ALARM, "o-goodput")
    assert goodput["metricQueries"][-1]["expression"] == "SUM([s0, s1]) / (SUM([s0, s1]) + SUM([f0, f1]))"
    assert (goodput["threshold"], goodput["comparisonOperator"]) == (0.99, "LessThanThreshold")


def test_given_many_functions_when_deployed_then_no_alarm_takes_more_than_ten_metrics() -> None:
    functions = {f"f{n}": f"f-{n}" for n in range(12)}
    seen = deploy(observe(functions=functions, budgets_ms={"total": 2000}))
    alarms = [r for r in seen.resources if r.typ == ALARM]
    assert len(alarms) == 3 * 5
    watched: set[str] = set()
    for alarm in alarms:
        metrics = [q["metric"] for q in alarm.inputs["metricQueries"] if "metric" in q]
        assert 1 <= len(metrics) <= 10
        if alarm.name.startswith("o-goodput"):
            watched |= {m["dimensions"]["function"] for m in metrics}
    assert watched == set(functions.values())


def test_given_a_dashboard_when_deployed_then_every_function_shows_every_phase() -> None:
    seen = deploy(samples.PROGRAMS["Observability"])
    body = json.loads(seen.one(DASHBOARD, "observe-dashboard")["dashboardBody"])
    titles = [widget["properties"]["title"] for widget in body["widgets"]]
    assert len(titles) == len(set(titles))
    for label in ("classify", "ocr"):
        (widget,) = [w for w in body["widgets"] if w["properties"]["title"].endswith(f"ms): {label}")]
        assert [row[1] for row in widget["properties"]["metrics"]] == [
            f"phase_{phase}_ms" for phase in PHASES
        ]
        assert widget["properties"]["stacked"] is True
    places = [(w["x"], w["y"]) for w in body["widgets"]]
    assert len(places) == len(set(places)), "widgets overlap"
    assert all(w["properties"]["region"] == "eu-west-1" for w in body["widgets"])
    (cost,) = [w for w in body["widgets"] if "Cost" in w["properties"]["title"]]
    expressions = [row[0]["expression"] for row in cost["properties"]["metrics"] if isinstance(row[0], dict)]
    assert expressions[0] == "d0 / 1000 * 1 * 1.66667e-05 + i0 * 2e-07"


def test_given_no_topic_when_deployed_then_there_is_one_of_its_own_and_all_alarms_use_it() -> None:
    seen = deploy(observe())
    topic = seen.outputs["o"]["topic_arn"]
    assert ("aws:sns/topic:Topic", "o-alarms") in seen.names()
    assert all(r.inputs["alarmActions"] == [topic] for r in seen.resources if r.typ == ALARM)
    mine = deploy(observe(alarm_topic_arns=["arn:aws:sns:eu-west-1:111122223333:mine"]))
    assert ("aws:sns/topic:Topic", "o-alarms") not in mine.names()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            {"budgets_ms": {"fetsh": 1}},
            "KW149 Observability 'o' budgets_ms.fetsh: got an unknown phase; allowed scheduling, sandbox, "
            "image_pull, "
            "runtime_init, imports, fetch, verify, compile, load, allocate, warmup, total; because functions measure "
            "these phases and no others; fix: use one of them",
        ),
        (
            {"budgets_ms": {"scheduling": 100}},
            "KW149 Observability 'o' budgets_ms: got a budget for scheduling alone; allowed budgets for more of "
            "scheduling, sandbox, image_pull, runtime_init, imports, fetch, verify, compile, load, allocate, warmup, "
            "total; because a cold start is every phase up to readiness, and scheduling is the smallest of them; "
            "fix: "
            "budget total, or the phases of the model",
        ),
        (
            {"goodput_target": 1.5},
            "KW146 Observability 'o' goodput_target: got 1.5; allowed 0.01 to 1; because it is a share; fix: set "
            "goodput_target within the range",
        ),
    ],
)
def test_given_a_budget_that_measures_nothing_when_declared_then_it_is_refused(
    args: dict[str, Any], text: str
) -> None:
    assert refusal(observe(**args)) == text


def test_given_a_workflow_then_failures_and_timeouts_ring() -> None:
    seen = deploy(observe(workflow_arn="arn:aws:states:eu-west-1:111122223333:stateMachine:d"))
    topic = seen.outputs["o"]["topic_arn"]
    for role, metric in (("timeouts", "ExecutionsTimedOut"), ("failures", "ExecutionsFailed")):
        alarm = seen.one(ALARM, f"o-workflow-{role}")
        assert (alarm["metricName"], alarm["alarmActions"]) == (metric, [topic])


@pytest.mark.parametrize(("always_on", "silence"), [(True, "breaching"), (False, "notBreaching")])
def test_given_tasks_then_a_shortfall_rings_and_silence_means_what_it_means(
    always_on: bool, silence: str
) -> None:
    tasks = {"cluster_name": "c", "service_name": "s", "always_on": always_on}
    alarm = deploy(observe(tasks={"reader": tasks})).one(ALARM, "o-shortfall-reader")
    assert alarm["treatMissingData"] == silence
    assert alarm["metricQueries"][-1]["expression"] == "desired - running"


def test_given_every_phase_when_named_then_the_metric_is_what_the_runtime_emits() -> None:
    assert watched.metric_name("fetch") == "phase_fetch_ms"
    assert watched.metric_name("total") == "init_ms"


# --- PrivateEndpoints


def test_given_the_default_vpc_when_deployed_then_stores_are_reached_by_gateways_and_the_rest_over_tls_inside() -> (
    None
):
    seen = deploy(samples.PROGRAMS["PrivateEndpoints"], lookups=DEFAULT_VPC)
    kind = "aws:ec2/vpcEndpoint:VpcEndpoint"
    for service in ("s3", "dynamodb"):
        gateway = seen.one(kind, f"endpoints-{service}")
        assert (gateway["vpcEndpointType"], gateway["routeTableIds"]) == ("Gateway", ["rtb-0aaa"])
        assert gateway["serviceName"] == f"com.amazonaws.eu-west-1.{service}"
    found = seen.one(kind, "endpoints-data-servicediscovery")
    assert (found["vpcEndpointType"], found["privateDnsEnabled"]) == ("Interface", True)
    rule = seen.one("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "endpoints-https")
    assert (rule["cidrIpv4"], rule["fromPort"], rule["toPort"]) == ("172.31.0.0/16", 443, 443)


def test_given_a_gateway_service_when_asked_for_again_then_it_is_refused() -> None:
    assert refusal(lambda: kw.PrivateEndpoints("e", {"services": ["s3"]})) == (
        "KW102 PrivateEndpoints 'e' services[0]: got 's3'; allowed services other than s3 and dynamodb; because "
        "these two "
        "get gateway endpoints, which cost nothing; fix: remove it"
    )


def test_given_a_vpc_with_gateways_then_none_or_one_is_made() -> None:
    kind = "aws:ec2/vpcEndpoint:VpcEndpoint"

    def made(gateways: list[str]) -> list[str]:
        seen = deploy(
            lambda: kw.PrivateEndpoints("e", {"gateways": gateways, "services": ["sqs"]}), lookups=DEFAULT_VPC
        )
        return [name for found, name in seen.names() if found == kind]

    assert made([]) == ["e-sqs"]
    assert made(["s3"]) == ["e-s3", "e-sqs"]


def test_given_a_service_without_gateway_then_it_is_refused() -> None:
    assert refusal(lambda: kw.PrivateEndpoints("e", {"gateways": ["sqs"]})) == (
        "KW102 PrivateEndpoints 'e' gateways[0]: got 'sqs'; allowed s3 or dynamodb; because no other service has a "
        "gateway endpoint; fix: name it in services"
    )
