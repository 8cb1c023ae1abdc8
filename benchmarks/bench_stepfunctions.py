"""What a workflow costs in the embedded cloud: the way from StartExecution to the end, and many at once.

Run: `python benchmarks/bench_stepfunctions.py`. Prints one JSON line; times in milliseconds of this machine.
"""

import json
import statistics
import time
from typing import Any

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.stepfunctions import StepFunctionsService

STATES = 20
RUNS = 100
BURST = 2000


def definition(states: int) -> str:
    """Make a chain of Pass states."""
    chain: dict[str, Any] = {
        f"S{i}": {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 1)"}, "Next": f"S{i + 1}"}
        for i in range(states - 1)
    }
    chain[f"S{states - 1}"] = {"Type": "Pass", "End": True}
    return json.dumps({"StartAt": "S0", "States": chain})


def main() -> None:
    """Measure and print."""
    service = StepFunctionsService()
    with Cloud(CloudSettings(account_id="123456789090"), [service]) as cloud:
        trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}}]}
        role = cloud.boto("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(trust))[
            "Role"
        ]["Arn"]
        api = cloud.boto("stepfunctions")
        arn = api.create_state_machine(name="m", roleArn=role, definition=definition(STATES))[
            "stateMachineArn"
        ]
        took_ms = []
        for _ in range(RUNS):
            begun_s = time.perf_counter()
            execution = api.start_execution(stateMachineArn=arn, input='{"n":0}')["executionArn"]
            assert service.wait_closed(execution, 10).status == "SUCCEEDED"
            took_ms.append((time.perf_counter() - begun_s) * 1000)
        begun_s = time.perf_counter()
        started = [service._begin({"stateMachineArn": arn, "input": '{"n":0}'}).arn for _ in range(BURST)]
        for execution in started:
            assert service.wait_closed(execution, 60).status == "SUCCEEDED"
        burst_s = time.perf_counter() - begun_s
    result = {
        "states": STATES,
        "one_p50_ms": round(statistics.median(took_ms), 2),
        "one_p95_ms": round(statistics.quantiles(took_ms, n=20)[-1], 2),
        "burst": BURST,
        "burst_s": round(burst_s, 2),
        "transition_us": round(burst_s / BURST / STATES * 1e6, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
