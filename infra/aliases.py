"""Names that the parts had before they became parts of one component: a deployed stack is updated, not replaced."""

import pulumi

BEFORE = {
    "documents-admission": "admission",
    "documents-burst": "burst",
    "documents-classify": "classify",
    "documents-effects": "effects",
    "documents-enrich": "enrich",
    "documents-extract": "extract",
    "documents-intake": "intake",
    "documents-models": "models",
    "documents-observe": "observe",
    "documents-ocr": "ocr",
    "documents-private": "private",
    "documents-publish": "publish",
    "documents-results": "results",
    "documents-service": "reader",
    "documents-warm": "warm",
    "documents-workflow": "documents",
}
"""Name of each part -> its name when the program declared it by itself, without a parent."""


LOGS = "documents-workflow-logs"
"""Log group whose name starts with the workflow's: a new start would replace it, and the logs with it."""


def as_before(
    args: pulumi.ResourceTransformationArgs,
) -> pulumi.ResourceTransformationResult | None:
    """Give a part the alias of its former name; its children inherit it."""
    if args.name == LOGS:
        kept = pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(ignore_changes=["namePrefix"]))
        return pulumi.ResourceTransformationResult(args.props, kept)
    before = BEFORE.get(args.name)
    if before is None or not args.type_.startswith("keepwarm:index:"):
        return None
    former = pulumi.Alias(name=before, parent=pulumi.ROOT_STACK_RESOURCE)
    aliased = pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(aliases=[former]))
    return pulumi.ResourceTransformationResult(args.props, aliased)
