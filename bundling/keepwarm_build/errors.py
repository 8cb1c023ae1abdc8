"""The one failure of a build, and what each code means."""

CODES = {
    "KW190": "There is no such function, architecture or Python version to build for.",
    "KW191": "A function and its layers are larger than Lambda takes.",
    "KW192": "A dependency has no wheel for the target.",
    "KW193": "The tool that resolves dependencies (uv) is missing.",
    "KW194": "A dependency could not be downloaded.",
    "KW195": "A dependency is not the one whose hash is pinned.",
    "KW196": "The build folder can't be written.",
    "KW197": "The sources of a bundle can't be used.",
    "KW198": "A requirement isn't pinned to one version and its hashes.",
    "KW199": "The sources of keepwarm-runtime can't be found.",
}
"""Code -> one-line meaning; the documentation page is generated from this."""


class BundleError(Exception):
    """A bundle can't be built; one line that starts with `code`."""

    def __init__(self, code: str, who: str, got: str, *, allowed: str, because: str, fix: str) -> None:
        self.code = code
        text = f"{code} {who}: got {got}; allowed {allowed}; because {because}; fix: {fix}"
        super().__init__(" ".join(text.split()))
