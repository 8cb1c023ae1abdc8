"""Every failure the runtime raises on purpose, with the code that names it for ever.

RuntimeFault                       base: `code`, `retry`, and the one-line text of contract C6
├── InvalidSettings       KW300    an environment variable or argument is wrong: fix the deployment
├── BadEvent              KW301    the event or its key can't be used: never a silent run
├── BadBatch              KW302    an SQS batch without usable message ids: the whole batch goes back
├── BadResult             KW303    the handler's answer can't be sent as JSON or is too large
├── BadDocument           KW310    the document itself is wrong: park it, never retry
│   ├── EncryptedDocument KW311
│   ├── EmptyDocument     KW312
│   ├── CorruptDocument   KW313
│   ├── TooLargeDocument  KW314
│   └── UnsupportedDocument KW315
├── Overloaded            KW320    downstream refuses for now: come back after `retry_after_s`
├── NotReady              KW321    the downstream or the model is still loading: retry soon
├── DeadlineExceeded      KW322    the work can't be done in the time that is left
├── DownstreamFault       KW323    the downstream answered something that no retry will change
├── AwsFault              KW330    AWS refused a call (facts: service, operation, aws_code, status)
│   ├── AccessDenied      KW331
│   ├── NotFound          KW332
│   ├── PreconditionFailed KW333   an If-Match, If-None-Match or condition expression did not hold
│   ├── Throttled         KW334    still throttled after the retry budget was spent
│   ├── Unreachable       KW335    no usable answer; `sent` says whether AWS may have acted
│   └── BrokenAnswer      KW336    the answer fails its own length or checksum
├── EffectFault           KW340    base of the effect ledger's refusals
│   ├── StaleOwner        KW341    another owner took this effect over: stop, write nothing
│   ├── EffectInProgress  KW342    another invocation holds the lease: come back after `retry_after_s`
│   ├── EffectUnknown     KW343    it may or may not have happened and nobody could say yet: retry
│   ├── EffectParked      KW344    doubt that only a person can settle: never retried by itself
│   ├── PayloadConflict   KW345    the same key was used for another payload
│   ├── EffectMisuse      KW346    the effect is declared in a way that can't be made safe
│   └── LedgerUnusable    KW347    the ledger table is missing or has another key schema
└── ModelFault            KW400    base of everything about model files
    ├── ManifestInvalid   KW401    R101 not JSON, too large, missing field, newer schema
    ├── UnsafePath        KW402    R102 absolute, `..`, NUL, symlink, case clash
    ├── SizeMismatch      KW403    R103
    ├── DigestMismatch    KW404    R104 names both digests
    ├── SignatureInvalid  KW405    R105
    ├── RolledBack        KW406    R106 below the channel's floor
    ├── UnsafeFormat      KW407    R107 pickle in any disguise
    ├── BrokenTensors     KW408    R108 safetensors or a web page saved as a model
    ├── ModelUnavailable  KW409    R109 403, 404, other region, KMS refusal
    ├── NoSpace           KW410    R110 need, have, evictable
    └── CacheUnusable     KW411    R111 the cache directory can't be trusted or written

The class says whether a retry can help (`retry`); Step Functions sees the class name as the error name.
"""

from __future__ import annotations

from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CODES: dict[str, str] = {
    "KW300": "A runtime setting is missing or wrong.",
    "KW301": "The event, or the idempotency key in it, can't be used.",
    "KW302": "An SQS batch whose records can't be answered one by one.",
    "KW303": "The handler's result can't be serialized or is larger than the platform takes.",
    "KW310": "The document can't be processed as sent; it is parked.",
    "KW311": "The document is encrypted.",
    "KW312": "The document is empty.",
    "KW313": "The document is damaged.",
    "KW314": "The document is larger than the limit.",
    "KW315": "The document's format is not supported.",
    "KW320": "The downstream is at capacity; come back later.",
    "KW321": "The downstream or the model is still loading.",
    "KW322": "The work can't be done before its deadline.",
    "KW323": "The downstream refused the work for good.",
    "KW330": "AWS refused a call.",
    "KW331": "The role may not do this.",
    "KW332": "The AWS resource does not exist.",
    "KW333": "A conditional write lost: somebody else wrote first.",
    "KW334": "AWS throttled the call for longer than the retry budget allows.",
    "KW335": "AWS gave no usable answer in time.",
    "KW336": "An answer from AWS is shorter than announced or fails its checksum.",
    "KW340": "The effect ledger refused.",
    "KW341": "A superseded owner tried to write; its successor's record stands.",
    "KW342": "Another invocation is performing this effect right now.",
    "KW343": "Whether the effect happened is not known yet.",
    "KW344": "The effect is parked until a person decides.",
    "KW345": "One idempotency key was used for two payloads.",
    "KW346": "The effect is declared in a way that can't be made safe.",
    "KW347": "The effect ledger's table is missing or has another shape.",
    "KW400": "A model can't be used.",
    "KW401": "The model manifest is not valid.",
    "KW402": "A path in a model manifest is unsafe.",
    "KW403": "A model file has another size than its manifest says.",
    "KW404": "Bytes of a model don't have the digest that the manifest pins.",
    "KW405": "The manifest's signature is missing, unknown or wrong.",
    "KW406": "The channel refuses a version below its rollback floor.",
    "KW407": "The model format can execute code when loaded.",
    "KW408": "A tensor file is malformed, or is not a tensor file at all.",
    "KW409": "The model can't be read from its registry.",
    "KW410": "The model does not fit the cache's disk.",
    "KW411": "The model cache directory can't be trusted or written.",
}
"""Code -> one-line meaning; the documentation page is generated from this."""


class RuntimeFault(Exception):
    """Base of every failure the runtime raises on purpose.

    `who` is the thing at fault, `got` what it was; the class supplies what is allowed, why and what to do
    unless the raiser knows better. The text is one line: `KWnnn who: got X; allowed Y; because Z; fix: ...`.
    """

    code = "KW300"
    retry = False
    allowed = ""
    because = ""
    fix = ""

    def __init__(
        self,
        who: str,
        got: str,
        *,
        allowed: str | None = None,
        because: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.who = who
        self.got = got
        self.allowed = self.allowed if allowed is None else allowed
        self.because = self.because if because is None else because
        self.fix = self.fix if fix is None else fix
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.code} {self.who}: got {self.got}"
        if self.allowed:
            text += f"; allowed {self.allowed}"
        if self.because:
            text += f"; because {self.because}"
        if self.fix:
            text += f"; fix: {self.fix}"
        return " ".join(text.split())


class InvalidSettings(RuntimeFault):
    """An environment variable or argument is wrong; several problems of one start are in one text."""

    code = "KW300"
    fix = "set the variable on the function; the component that owns it does"


class BadEvent(RuntimeFault):
    """The event or its key can't be used (R112)."""

    code = "KW301"
    because = "running it would be a guess"
    fix = "correct the sender"


class BadBatch(RuntimeFault):
    """A batch that can't be answered per record (R120)."""

    code = "KW302"
    allowed = "SQS records with distinct, non-empty messageId values"
    because = "a failure could not be reported for one record without losing another"
    fix = "send the event of an SQS event source mapping"


class BadResult(RuntimeFault):
    """The handler's answer can't travel (R114)."""

    code = "KW303"
    allowed = "JSON without NaN, at most 6 MB (6,291,456 bytes)"
    because = "Lambda would drop it after the work was done"
    fix = "store large results in S3 and return the reference"


class BadDocument(RuntimeFault):
    """The document can never succeed as sent."""

    code = "KW310"
    allowed = "a readable document"
    because = "the same bytes will fail every time"
    fix = "correct the document and upload it again"


class EncryptedDocument(BadDocument):
    """The document needs a password nobody gave."""

    code = "KW311"
    allowed = "documents without a password"
    fix = "remove the password and upload it again"


class EmptyDocument(BadDocument):
    """There is nothing to read."""

    code = "KW312"
    allowed = "documents of at least 1 byte"


class CorruptDocument(BadDocument):
    """The document breaks its own format."""

    code = "KW313"


class TooLargeDocument(BadDocument):
    """The document is over the limit."""

    code = "KW314"
    because = "it would not fit the function's memory and time"
    fix = "split the document"


class UnsupportedDocument(BadDocument):
    """No handler reads this format."""

    code = "KW315"
    allowed = "the formats the extractor names"
    fix = "convert the document"


class Overloaded(RuntimeFault):
    """The downstream is at capacity; `retry_after_s` seconds is the soonest that makes sense."""

    code = "KW320"
    retry = True
    allowed = "work within the downstream's capacity"
    because = "queueing more would only turn waiting into timeouts"

    def __init__(
        self,
        who: str,
        got: str,
        *,
        retry_after_s: float = 1.0,
        allowed: str | None = None,
        because: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        fix = fix or f"retry after {retry_after_s:.1f} s"
        super().__init__(who, got, allowed=allowed, because=because, fix=fix)


class NotReady(RuntimeFault):
    """The downstream, or the model, is still loading."""

    code = "KW321"
    retry = True
    because = "capacity is still starting"

    def __init__(self, who: str, got: str, *, retry_after_s: float = 1.0, fix: str | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(who, got, fix=fix or f"retry after {retry_after_s:.1f} s")


class DeadlineExceeded(RuntimeFault):
    """The time that is left is less than the work needs; 0 ms left is a number, not 'unknown'."""

    code = "KW322"
    because = "starting it would be cut off by the platform"
    fix = "retry with more time, or raise the timeout"


class DownstreamFault(RuntimeFault):
    """The downstream refused for good (4xx other than 408, 425, 429).

    `status` is its HTTP status and `error` the `error` object of its JSON body, {} if there is none.
    """

    code = "KW323"
    fix = "see the downstream's own log for the request id"
    status = 0
    error: Mapping[str, object] = MappingProxyType({})


class AwsFault(RuntimeFault):
    """AWS refused a call."""

    code = "KW330"

    def __init__(
        self,
        service: str,
        operation: str,
        aws_code: str,
        status: int,
        message: str,
        *,
        resource: str = "",
        allowed: str | None = None,
        because: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.service = service
        self.operation = operation
        self.aws_code = aws_code
        self.status = status
        self.message = message
        self.resource = resource
        target = f" {resource}" if resource else ""
        got = f"{aws_code}" + (f" (HTTP {status})" if status else "") + (f", {message}" if message else "")
        super().__init__(f"{service} {operation}{target}", got, allowed=allowed, because=because, fix=fix)


class AccessDenied(AwsFault):
    """The role may not do this; the text names action and resource."""

    code = "KW331"
    because = "the role of this function has no statement that allows it"
    fix = "grant the action on the resource in the component that owns it"


class NotFound(AwsFault):
    """The resource does not exist."""

    code = "KW332"
    fix = "check the name, the region and that the stack is deployed"


class PreconditionFailed(AwsFault):
    """A conditional write lost; `item` is the record that stands (DynamoDB returns it)."""

    code = "KW333"
    because = "somebody else wrote first"
    fix = "read what is there and decide again"
    item: dict[str, object] | None = None


class Throttled(AwsFault):
    """Still throttled after the retry budget was spent."""

    code = "KW334"
    retry = True
    fix = "retry later; lower the concurrency if it lasts"


class Unreachable(AwsFault):
    """No usable answer. `sent` is True when AWS may have acted on the request."""

    code = "KW335"
    retry = True
    sent = False
    fix = "retry; check the network path and the VPC endpoints if it lasts"


class BrokenAnswer(AwsFault):
    """The answer is shorter than announced or fails its checksum."""

    code = "KW336"
    retry = True
    fix = "retry; the bytes were not used"


class EffectFault(RuntimeFault):
    """Base of the effect ledger's refusals."""

    code = "KW340"


class StaleOwner(EffectFault):
    """A superseded owner tried to go on."""

    code = "KW341"
    allowed = "writes of the current owner and epoch"
    because = "the lease ran out and another invocation took over"
    fix = "stop; the successor answers for this effect"


class EffectInProgress(EffectFault):
    """Another invocation holds the lease until `retry_after_s` seconds from now."""

    code = "KW342"
    retry = True
    because = "another invocation is performing it"

    def __init__(self, who: str, got: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(who, got, fix=f"retry after {retry_after_s:.1f} s")


class EffectUnknown(EffectFault):
    """It may have happened, and the resolver could not say yet."""

    code = "KW343"
    retry = True
    because = "running it again could do it twice"

    def __init__(self, who: str, got: str, *, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(who, got, fix=f"retry after {retry_after_s:.1f} s; the resolver is asked first")


class EffectParked(EffectFault):
    """Doubt that only a person can settle."""

    code = "KW344"
    because = "it may have happened once and nothing can tell"
    fix = "look at the downstream, then settle the record as DONE or FAILED"


class PayloadConflict(EffectFault):
    """The same key was used for another payload (R113)."""

    code = "KW345"
    allowed = "one payload per key"
    because = "answering with the first result would hide the difference"
    fix = "use a key that includes everything that changes the effect"


class EffectMisuse(EffectFault):
    """The declaration can't be made safe (R115, C023, C024)."""

    code = "KW346"


class LedgerUnusable(EffectFault):
    """The table is missing or has another key schema (R119)."""

    code = "KW347"
    allowed = "a table with the string key pk"
    fix = "deploy the EffectLedger component and grant it to this function"


class ModelFault(RuntimeFault):
    """Base of everything about model files."""

    code = "KW400"


class ManifestInvalid(ModelFault):
    """The manifest is not one (R101)."""

    code = "KW401"
    fix = "publish the model again with `keepwarm model publish`"


class UnsafePath(ModelFault):
    """A path that could leave the model's directory or collide (R102)."""

    code = "KW402"
    allowed = "relative paths of printable characters, unique without regard to case"
    because = "the file would be written outside the model, or over another"
    fix = "rename the file and publish again"


class SizeMismatch(ModelFault):
    """A file has another size than the manifest says (R103)."""

    code = "KW403"
    because = "the file is not the one that was published"
    fix = "publish the model again"


class DigestMismatch(ModelFault):
    """Bytes don't have the pinned digest (R104)."""

    code = "KW404"
    because = "the bytes changed after the manifest was made"
    fix = "don't load them; find out who wrote the object, then publish again"


class SignatureInvalid(ModelFault):
    """The manifest's signature does not hold (R105)."""

    code = "KW405"
    fix = "publish with a signer that this channel trusts"


class RolledBack(ModelFault):
    """Below the channel's floor (R106)."""

    code = "KW406"
    because = "an older version was retired on purpose"
    fix = "promote a newer version, or lower the floor by a reviewed `keepwarm model rollback --floor`"


class UnsafeFormat(ModelFault):
    """The format can execute code when it is loaded (R107)."""

    code = "KW407"
    allowed = "onnx, safetensors, gguf, and plain data files"
    because = "loading a pickle runs code from the file"
    fix = "convert it, for example with safetensors.torch.save_file"


class BrokenTensors(ModelFault):
    """A tensor file is malformed (R108)."""

    code = "KW408"
    because = "the loader would read outside the file or fail later without a reason"
    fix = "export the model again"


class ModelUnavailable(ModelFault):
    """The registry does not give the model (R109)."""

    code = "KW409"


class NoSpace(ModelFault):
    """The model does not fit the disk (R110)."""

    code = "KW410"
    because = "a half-written model is worse than none"
    fix = "raise the ephemeral storage of the function"


class CacheUnusable(ModelFault):
    """The cache directory can't be trusted or written (R111)."""

    code = "KW411"
    allowed = "a directory of this user with mode 0700"
    because = "another user could swap verified files"
    fix = "point KEEPWARM_CACHE_DIR at a private, writable directory"
