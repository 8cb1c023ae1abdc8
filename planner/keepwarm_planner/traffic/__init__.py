"""What arrives and how long it takes: traces read or generated, and laws of durations."""
