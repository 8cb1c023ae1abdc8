"""Policy pack that refuses unsafe serverless AI designs. Rules are values; `policies/__main__.py` is the pack."""

from keepwarm_policies.mistakes import RULES

__all__ = ["RULES"]
