"""Codes of the policy rules; a violation starts with its rule's code (contract C6)."""

CODES = {
    "KW201": "A cold start is budgeted by scheduling or initialization alone; the model's phases are not watched.",
    "KW202": "A burst of environments would each download the model with nothing to bound or stagger it.",
    "KW203": "Serverless concurrency can exceed what the GPU service behind it takes.",
    "KW204": "A long-running task keeps its state in process memory only.",
    "KW205": "A write that the platform retries has no idempotency record.",
    "KW206": "A model that is busy most of the time scales to zero.",
}
