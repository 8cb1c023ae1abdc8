"""Tells a secret from a setting, so that none ends up readable in a function's configuration."""

import math
import re
from collections import Counter

PREFIXES: dict[str, str] = {
    r"(?:AKIA|ASIA)[0-9A-Z]{16}": "an AWS access key id",
    r"gh[pousr]_[A-Za-z0-9]{20,}": "a GitHub token",
    r"github_pat_[A-Za-z0-9_]{20,}": "a GitHub token",
    r"glpat-[A-Za-z0-9_-]{16,}": "a GitLab token",
    r"hf_[A-Za-z0-9]{20,}": "a Hugging Face token",
    r"sk-[A-Za-z0-9_-]{16,}": "an API key",
    r"xox[abprs]-[A-Za-z0-9-]{10,}": "a Slack token",
    r"AIza[0-9A-Za-z_-]{30,}": "a Google API key",
    r"pul-[0-9a-f]{40}": "a Pulumi access token",
    r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*": "a JSON web token",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----": "a private key",
    r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]+@": "a password in a URL",
}
NAMES = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIALS?)$", re.IGNORECASE
)
REFERENCE = re.compile(r"arn:[a-z-]+:|/|https?://|s3://|ssm:|[a-z0-9._-]+@sha256:|sha256:", re.IGNORECASE)
OPAQUE = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
BITS_PER_CHAR = 4.2
"""Random base64 of 24 characters and more measures above this; words, ids and ARNs stay below."""


def entropy_bits(text: str) -> float:
    """Shannon entropy per character of a text, in bits."""
    if not text:
        return 0.0
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def suspicion(name: str, value: str) -> str | None:
    """Why a setting looks like a secret, or None. References (ARNs, paths, digests) never do."""
    for pattern, what in PREFIXES.items():
        if re.search(pattern, value):
            return f"it looks like {what}"
    if not value or REFERENCE.match(value):
        return None
    if NAMES.search(name):
        return "its name says that it is a secret"
    mixed = all(re.search(group, value) for group in ("[a-z]", "[A-Z]", "[0-9]"))
    if mixed and OPAQUE.fullmatch(value) and entropy_bits(value) > BITS_PER_CHAR:
        return f"it is {len(value)} random characters"
    return None
