"""What the planner answers: fit, cold-start budget, size, break-even, checklist, and how each is shown."""
