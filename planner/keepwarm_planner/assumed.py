"""Numbers that nobody publishes and no input gives: assumed, each in one place."""

from keepwarm import limits

IDLE_TIMEOUT_S = 600.0
"""Idle time after which Lambda releases an on-demand environment: AWS publishes none; five to fifteen minutes are
reported."""

FUNCTION_COLD_S = 2.0
"""Cold start of a function with a small model."""

SERVICE_WAKE_S = 180.0
"""From the decision to a ready task: instance, image, model."""

SERVICE_IDLE_S = 60.0 * limits.SERVICE_IDLE_MINUTES
"""Idle time after which a service lets its last task go: the default of the deployed one. What its instance costs until
it is terminated as well is not in it."""

INSTANCE_START_S = float(limits.GPU_INSTANCE_START_S)
"""Start of a GPU instance and its container, model load apart."""

MANAGED_START_S = 180.0
"""For the "several minutes" that AWS states for scaling Lambda managed instances with GPU from zero."""

POD_START_S = 8.0
"""Knative activation with the image on the node."""
