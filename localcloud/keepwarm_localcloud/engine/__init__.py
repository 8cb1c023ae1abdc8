"""Pulumi programs against the embedded cloud: the in-process driver and the gRPC provider."""
