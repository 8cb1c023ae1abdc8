"""`keepwarm plan`: a module per command, each with its options, what it runs and how it shows the answer.

Only typer is imported before a command runs, so that `--help` starts fast; what a command needs is imported by it.
"""

from keepwarm_cli import command_line
from keepwarm_cli.plan import (
    breakeven,
    budget,
    checklist,
    compare,
    fit,
    prices,
    simulate,
    size,
)
from keepwarm_cli.plan.options import pipeable

app = command_line.app(
    "plan",
    "Will it fit, how cold is it, how many to keep warm, what does it cost: before anything is deployed.",
)

command_line.command(app, fit.FitOptions, "fit")(pipeable(fit.run))
command_line.command(app, budget.BudgetOptions, "budget")(pipeable(budget.run))
command_line.command(app, size.SizeOptions, "size")(pipeable(size.run))
command_line.command(app, simulate.SimulateOptions, "simulate")(pipeable(simulate.run))
command_line.command(app, compare.CompareOptions, "compare")(pipeable(compare.run))
command_line.command(app, breakeven.BreakevenOptions, "breakeven")(pipeable(breakeven.run))
command_line.command(app, checklist.ChecklistOptions, "checklist")(pipeable(checklist.run))
command_line.command(app, prices.PricesOptions, "prices")(pipeable(prices.run))
