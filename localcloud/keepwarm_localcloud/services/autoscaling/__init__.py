"""Application Auto Scaling and CloudWatch alarms of the embedded cloud: they act, on the cloud's clock."""

from keepwarm_localcloud.services.autoscaling.service import AutoscalingService

__all__ = ["AutoscalingService"]
