"""A queue, a function that reads it and publishes each answer once, and one environment that is always warm."""

from pathlib import Path

import pulumi

from keepwarm import BurstQueue, DataBucket, EffectLedger, PreprocessingFunction, WarmPool
from keepwarm_build import bundle

jobs = BurstQueue("jobs", {"consumer_timeout_s": 30, "max_concurrency": 2, "max_event_age_s": 3600})
# An example leaves nothing behind. By default both outlive the stack with what they hold.
results = DataBucket("results", {"keep_data": False})
effects = EffectLedger("effects", {"keep_data": False})
measure = PreprocessingFunction(
    "measure",
    {
        **bundle(Path(__file__).parent / "function", name="measure").as_args(),
        "timeout_s": 30,
        "queue": jobs.binding(),
        "ledger": effects.binding(),
        "results": results.binding(),
    },
)
WarmPool("warm", {"target": measure.warm_target(), "environments": 1})
pulumi.export("jobs_url", jobs.url)
pulumi.export("measure_arn", measure.arn)
pulumi.export("results", results.bucket)
