"""The facts of the resource types from outside: see `__main__`."""
