"""Time: the clock of the cloud, timers on it, and the expressions of schedules."""
