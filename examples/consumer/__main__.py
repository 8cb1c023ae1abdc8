"""A queue, a function that reads it, and one environment that is warm when the first message comes."""

import sys
from pathlib import Path

import pulumi

from keepwarm import BurstQueue, PreprocessingFunction, WarmPool

jobs = BurstQueue("jobs", {"consumer_timeout_s": 30, "max_concurrency": 2, "deadline_s": 3600})
measure = PreprocessingFunction(
    "measure",
    {
        "code": pulumi.FileArchive(str(Path(__file__).parent / "function")),
        "runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "timeout_s": 30,
        "queue": jobs.binding(),
    },
)
WarmPool("warm", {"target": measure.warm_target(), "environments": 1})
pulumi.export("jobs_url", jobs.url)
pulumi.export("measure_arn", measure.arn)
