"""IAM documents, the verbs that grant, and the bindings that carry grants from part to part."""

from keepwarm.iam import grants

__all__ = ["grants"]
