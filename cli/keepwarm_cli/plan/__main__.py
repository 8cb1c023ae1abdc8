"""`python -m keepwarm_cli.plan`: the planner's commands alone."""

from keepwarm_cli.plan import app

app(prog_name="keepwarm plan")
