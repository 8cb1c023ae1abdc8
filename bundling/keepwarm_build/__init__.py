"""Lambda bundles without Docker: from a folder and its pinned requirements, always the same bytes.

from keepwarm_build import bundle

RuntimeFunction("hello", {**bundle("function").as_args(), "memory_mb": 512})
"""

from keepwarm_build.bundles import Bundle, FunctionCode, bundle
from keepwarm_build.errors import CODES, BundleError
from keepwarm_build.platform import Platform, Target
from keepwarm_build.zips import Archive

__all__ = ["CODES", "Archive", "Bundle", "BundleError", "FunctionCode", "Platform", "Target", "bundle"]
