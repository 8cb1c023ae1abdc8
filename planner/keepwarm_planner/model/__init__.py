"""The simulators: a pool alone (plain, precise), a function (engine), a function with its surroundings (system)."""
