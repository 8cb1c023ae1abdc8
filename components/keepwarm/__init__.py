"""Pulumi components for serverless AI runtimes."""
