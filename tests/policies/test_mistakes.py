"""Each of the six mistakes, at its edge: a sound stack passes every rule, and one broken thing breaks one rule.

Does not prove that the engine runs the pack; tests/engine does.
"""

from typing import Any

import pytest
from pulumi_policy import PolicyResource, StackValidationArgs
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from keepwarm_policies import RULES, graph
from keepwarm_policies.errors import CODES


def resource(kind: str, name: str, props: dict[str, Any], **refers: list[PolicyResource]) -> PolicyResource:
    urn = f"urn:pulumi:test::keepwarm::{kind}::{name}"
    proxied = unknown_checking_proxy(props)
    return PolicyResource(kind, proxied, urn, name, None, None, None, [], refers)  # type: ignore[arg-type]


def function(name: str, **changes: Any) -> PolicyResource:
    variables = {
        "KEEPWARM_MODEL_REF": "magika:stable",
        "KEEPWARM_MODEL_BYTES": str(3 * 1024**2),
        "KEEPWARM_SERVICE_NAME": "reader",
        "KEEPWARM_ADMISSION_TABLE": UNKNOWN_STRING_VALUE,
        "KEEPWARM_ADMISSION_PERMITS": "4",
        "KEEPWARM_LEDGER_TABLE": UNKNOWN_STRING_VALUE,
    }
    variables |= changes.pop("variables", {})
    kept = {k: v for k, v in variables.items() if v is not None}
    return resource(graph.FUNCTION, name, {"timeout": 30.0, "environment": {"variables": kept}, **changes})


def stack(classify: PolicyResource, **changes: Any) -> list[PolicyResource]:
    alias = resource(graph.ALIAS, "classify-live", {"name": "live"}, functionName=[classify])
    source = resource(
        graph.EVENT_SOURCE,
        "classify-queue",
        {
            "functionName": UNKNOWN_STRING_VALUE,
            **changes.get("source", {"scalingConfig": {"maximumConcurrency": 10.0}}),
        },
        functionName=[alias],
    )
    phases = changes.get("phases", ("fetch", "verify", "load"))
    alarms = [
        resource(graph.ALARM, f"alarm-{p}", {"metricName": "PhaseMs", "dimensions": {"Phase": p}})
        for p in phases
    ]
    service = resource(graph.SERVICE, "reader", {"tags": changes.get("tags", {"keepwarm:duty-cycle": "0.1"})})
    target = resource(
        graph.SCALABLE_TARGET,
        "reader-scale",
        {"minCapacity": changes.get("minimum", 0.0)},
        resourceId=[service],
    )
    return [classify, alias, source, *alarms, service, target]


def said(resources: list[PolicyResource], config: dict[str, dict[str, Any]] | None = None) -> list[str]:
    heard: list[str] = []
    for rule in RULES:
        args = StackValidationArgs(resources, (config or {}).get(rule.name))

        def report(message: str, urn: str | None = None) -> None:
            heard.append(message)

        rule.validate(args, report)
    return heard


def test_given_a_sound_stack_then_no_rule_speaks() -> None:
    assert said(stack(function("classify"))) == []


BROKEN = [
    (
        stack(function("classify"), phases=("scheduling",)),
        "KW201 The function 'classify' must have its model's cold-start phases watched, got alarms for none and none"
        " for fetch, verify, load.",
    ),
    (
        stack(function("classify"), phases=("fetch", "load")),
        "KW201 The function 'classify' must have its model's cold-start phases watched, got alarms for fetch, load and"
        " none for verify.",
    ),
    (
        stack(function("classify"), source={}),
        "KW202 The function 'classify' must bound how many environments download its model at once, got neither"
        " reserved concurrency nor a maximum concurrency on its event source.",
    ),
    (
        stack(function("classify", variables={"KEEPWARM_MODEL_BYTES": str(6 * 1024**3)})),
        "KW202 The function 'classify' must download at most 50 GiB in a burst, got 10 environments x 6.00 GiB ="
        " 60.0 GiB.",
    ),
    (
        stack(function("classify", variables={"KEEPWARM_ADMISSION_TABLE": None})),
        "KW203 The function 'classify' must take a permit before it calls the GPU service, got no admission table.",
    ),
    (
        stack(function("classify", variables={"KEEPWARM_ADMISSION_PERMITS": "0"})),
        "KW203 The function 'classify' must say how many permits the GPU service takes, got a value that is"
        " no whole number of at least 1.",
    ),
    (
        stack(
            function(
                "classify",
                timeout=301.0,
                tags={"keepwarm:side-effects": "none"},
                variables={"KEEPWARM_LEDGER_TABLE": None},
            )
        ),
        "KW204 The function 'classify' must keep durable state when it may run longer than 300 s, got a timeout of"
        " 301 s and neither workflow, ledger nor durable execution.",
    ),
    (
        stack(function("classify", variables={"KEEPWARM_LEDGER_TABLE": None})),
        "KW205 The function 'classify' is retried by its event source and must record its effects in a ledger or"
        " declare that it has none, got no ledger table and side effects 'undeclared'.",
    ),
    (
        stack(function("classify"), tags={"keepwarm:duty-cycle": "0.4"}),
        "KW206 The service 'reader' must keep at least one task at a duty cycle of 0.4 or more, got a minimum of 0 at a"
        " duty cycle of 0.4.",
    ),
]


@pytest.mark.parametrize(
    ("resources", "sentence"), BROKEN, ids=[s[:5] + str(i) for i, (_, s) in enumerate(BROKEN)]
)
def test_given_one_broken_thing_then_exactly_one_rule_says_so(
    resources: list[PolicyResource], sentence: str
) -> None:
    assert said(resources) == [sentence]


@pytest.mark.parametrize(
    "resources",
    [
        stack(function("classify", reservedConcurrentExecutions=5.0), source={}),
        stack(function("classify", timeout=300.0)),
        stack(
            function(
                "classify",
                variables={"KEEPWARM_LEDGER_TABLE": None},
                tags={"keepwarm:side-effects": "idempotent"},
            )
        ),
        stack(function("classify"), tags={"keepwarm:duty-cycle": "0.9"}, minimum=1.0),
        stack(function("classify"), tags={}),
        stack(function("classify", variables={"KEEPWARM_ADMISSION_PERMITS": UNKNOWN_STRING_VALUE})),
    ],
)
def test_given_the_other_side_of_an_edge_then_no_rule_speaks(resources: list[PolicyResource]) -> None:
    assert said(resources) == []


def test_given_an_exemption_with_a_reason_then_the_rule_is_silent_there_only() -> None:
    broken = stack(function("classify"), source={})
    urn = broken[0].urn

    assert (
        said(broken, {"no-download-storm": {"exemptions": [{"urn": urn, "reason": "runs once, by hand"}]}})
        == []
    )
    assert len(said(broken, {"no-download-storm": {"exemptions": [{"urn": urn, "reason": " "}]}})) == 1
    assert (
        len(said(broken, {"no-download-storm": {"exemptions": [{"urn": "other", "reason": "a good one"}]}}))
        == 1
    )


def test_given_a_limit_in_the_configuration_then_it_decides() -> None:
    assert said(stack(function("classify")), {"no-download-storm": {"burstDownloadGiB": 0.01}}) == [
        "KW202 The function 'classify' must download at most 0.01 GiB in a burst, got 10 environments x 0.00"
        " GiB = 0.0 GiB."
    ]


def test_every_rule_tells_why_how_bad_and_how_to_fix_it() -> None:
    assert all(r.description and r.severity and r.remediation_steps and r.config_schema for r in RULES)
    assert len({r.name for r in RULES}) == len(RULES) == len(CODES)
