"""EventBridge Scheduler of the embedded cloud: moto keeps the schedules, this runs them on the cloud's clock."""

from keepwarm_localcloud.services.scheduler.service import SchedulerService

__all__ = ["SchedulerService"]
