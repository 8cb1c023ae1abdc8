"""The keepwarm command."""
