"""Parts of an Observability: its inputs, its alarms, its dashboard."""
