"""The phases of a cold start (contract C1): what planner, runtime, budgets, dashboards and policies call them.

"Cold start" never means scheduling alone. `keepwarm_runtime` stands alone, so it has this tuple too; a test holds the
two equal.
"""

from typing import Final

PHASES: Final = (
    "scheduling",
    "sandbox",
    "image_pull",
    "runtime_init",
    "imports",
    "fetch",
    "verify",
    "compile",
    "load",
    "allocate",
    "warmup",
)
