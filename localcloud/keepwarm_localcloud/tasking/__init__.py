"""What the task-running services share: timers on the cloud's clock, schedules, callers that use a role."""
