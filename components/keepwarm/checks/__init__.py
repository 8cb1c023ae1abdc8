"""Checks of inputs, run before the first resource is registered."""
