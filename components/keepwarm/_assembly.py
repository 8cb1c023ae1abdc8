"""How the parts of a stack fit together: once as a check, once for real, by the same code.

`assemble` walks the parts in the order of their bindings. Given `check`, it makes the Spec of each part from bindings
with stand-ins for what AWS names; given `build`, it makes the components. So what was checked is what is built.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pulumi

from keepwarm._values import derive, known
from keepwarm.checks.function import TIMEOUT_S
from keepwarm.iam import grants
from keepwarm.iam.bindings import NetworkPath
from keepwarm.limits import ADMISSION_PERMITS_MAX, LAMBDA_INIT_MAX_S

if TYPE_CHECKING:
    from keepwarm.serverless_runtime import ServerlessRuntimeArgs

from keepwarm._parts import (
    ADMISSION,
    BUCKET,
    ENDPOINTS,
    ENTRY,
    FUNCTION,
    LEDGER,
    OBSERVABILITY,
    QUEUE,
    REGISTRY,
    SERVICE,
    WARM_POOL,
    WORKFLOW,
    Kind,
    Make,
    Parts,
    Wanted,
)

POOL = "service"
"""Permit pool in front of the stack's service."""
SHARED = (
    "access_log_bucket",
    "alarm_topic_arns",
    "code_signing_config_arn",
    "keep_data",
    "kms_key_arn",
    "log_retention_days",
    "tags",
)
"""Inputs of the stack that every part gets which declares them and was not given its own."""


FUNCTION_SWITCHES = frozenset({"loads_model", "calls_service", "guards_effects"})
"""Inputs of a function of the stack that bind it to other parts, which the function itself does not have."""
SERVICE_SWITCHES = frozenset({"loads_model", "reads_documents"})
"""The same for the service."""


def assemble(name: str, args: "ServerlessRuntimeArgs", make: Make) -> Parts:
    """Make every part of a stack, each from the bindings of those before it."""
    return _Assembly(name, args, make).made()


class _Assembly:
    """One walk through the parts."""

    def __init__(self, name: str, args: "ServerlessRuntimeArgs", make: Make) -> None:
        self._name = name
        self._args = args
        self._make = make
        self._existing = args.get("existing", {})
        self._parts = Parts()
        self._ledger: Any = None
        self._serving: dict[str, Any] = {}
        """Inputs of a function that calls the service."""

    def made(self) -> Parts:
        """The parts, in the order of their bindings."""
        parts = self._parts
        for store in ("intake", "results"):
            self._store(store)
        self._queue()
        if "models" in self._args:
            parts.models = self._part(REGISTRY, "models", "models", self._args["models"])
        self._effects()
        self._serve()
        for label in (label for label in self._args["functions"] if label != self._args["entry"]):
            parts.functions[label] = self._part(FUNCTION, f"functions.{label}", label, self._function(label))
        self._workflow()
        self._enter()
        if "warm_pool" in self._args:
            warm = {"target": parts.functions[self._args["entry"]].warm_target(), **self._args["warm_pool"]}
            parts.warm_pool = self._part(WARM_POOL, "warm_pool", "warm", warm)
        self._observe()
        return parts

    def _part(
        self,
        kind: Kind,
        at: str,
        role: str,
        args: Mapping[str, Any],
        *,
        after: Sequence[Any] = (),
        written: Mapping[str, str] | None = None,
    ) -> Any:
        """One part with the inputs that all parts share, of which its own win.

        `written` says where the author wrote an input that does not stand in the part's own section.
        """
        given = {key: self._args[key] for key in SHARED if key in self._args}  # type: ignore[literal-required]
        shared = {key: value for key, value in given.items() if key in _declared(kind) and key not in args}
        elsewhere = {"name": "name", **{key: key for key in shared}, **(written or {})}
        name = f"{self._name}-{role}"
        return self._make(Wanted(kind, at, name, {**shared, **args}, after, elsewhere))

    def _store(self, role: str) -> None:
        existing: Any = self._existing.get(role)
        if existing is None:
            given: Any = self._args.get(role, {})
            made = self._part(BUCKET, role, role, given)
            setattr(self._parts, role, made)
            existing = made.binding()
        self._parts.stores[role] = existing

    def _queue(self) -> None:
        if "queue" in self._existing:
            self._parts.queue_binding = self._existing["queue"]
            return
        given = self._args.get("queue", {})
        intake = self._parts.stores["intake"]
        source = {"bucket": intake["bucket"], "bucket_arn": intake["bucket_arn"]}
        inputs: dict[str, Any] = {**given}
        inputs.setdefault("consumer_timeout_s", self._timeout_s(self._args["entry"]))
        more = inputs.get("intake", [])
        inputs["intake"] = [source, *more] if isinstance(more, list) else more
        written = (
            {}
            if "consumer_timeout_s" in given
            else {"consumer_timeout_s": self._timeout_key(self._args["entry"])}
        )
        self._parts.queue = self._part(QUEUE, "queue", "burst", inputs, written=written)
        self._parts.queue_binding = self._parts.queue.binding()

    def _effects(self) -> None:
        if "ledger" in self._existing:
            self._ledger = self._existing["ledger"]
            return
        guards = any(given.get("guards_effects") is True for given in self._args["functions"].values())
        if not guards and "ledger" not in self._args:
            return
        inputs: dict[str, Any] = dict(self._args.get("ledger", {}))
        if "redelivery_s" not in inputs:
            inputs.setdefault("queue", self._parts.queue_binding)
        self._parts.ledger = self._part(LEDGER, "ledger", "effects", inputs)
        self._ledger = self._parts.ledger.binding()

    def _serve(self) -> None:
        if "service" in self._existing:
            existing = self._existing["service"]
            self._serving = {
                **existing["network"],
                "service": existing["binding"],
                "admission": existing["admission"],
            }
            return
        if "service" not in self._args:
            return
        given = self._args["service"]
        inputs: dict[str, Any] = {key: value for key, value in given.items() if key not in SERVICE_SWITCHES}
        inputs.setdefault("model", self._model(given.get("loads_model")))
        if given.get("reads_documents") is True and isinstance(given.get("grants", []), list):
            inputs["grants"] = [*given.get("grants", []), *self._document_grants()]
        after, written = [], {}
        if "network" in self._args:
            # Tasks and the functions that call them have no way to the internet, so AWS comes to them.
            network = self._args["network"]
            self._parts.endpoints = self._part(ENDPOINTS, "network", "private", network)
            after = [self._parts.endpoints]
            inputs.setdefault("network_path", NetworkPath.ENDPOINTS)
            for key in {"vpc_id", "subnet_ids"} - set(given):
                inputs[key] = network.get(key)
                written[key] = f"network.{key}"
        service = self._part(SERVICE, "service", "service", inputs, after=after, written=written)
        self._parts.service = service
        pools = self._args.get("admission", {})
        named = pools.get("pools")
        # More than a pool can hold is refused by the service, in words its author knows.
        most = min(service.permits(), ADMISSION_PERMITS_MAX)
        permits = {**pools, "pools": {**(named if isinstance(named, Mapping) else {}), POOL: most}}
        self._parts.admission = self._part(ADMISSION, "admission", "admission", permits)
        self._serving = {
            **service.caller_network(),
            "service": service.binding(),
            "admission": self._parts.admission.binding(POOL),
        }

    def _document_grants(self) -> list[grants.Statement]:
        """Reading the intake, and of the results what the functions leave there for each other."""
        intake, results = self._parts.stores["intake"], self._parts.stores["results"]
        prefix = self._args.get("results", {}).get("expire_prefix", "")
        between = prefix if known(prefix) else ""
        return [
            grants.read_objects(intake["bucket_arn"]),
            grants.read_objects(results["bucket_arn"], cast(str, between)),
        ]

    def _model(self, wanted: str | None) -> Any:
        """Binding of a model of the registry, ``name`` or ``name:channel``."""
        if not isinstance(wanted, str) or self._parts.models is None:
            return None
        model, _, channel = wanted.partition(":")
        return (
            self._parts.models.binding(model, channel=channel)
            if channel
            else self._parts.models.binding(model)
        )

    def _function(self, label: str) -> dict[str, Any]:
        """Inputs of a function: its own, and what its switches bind it to."""
        given = self._args["functions"][label]
        entry = label == self._args["entry"]
        left_out = FUNCTION_SWITCHES if entry else {*FUNCTION_SWITCHES, "paused"}
        inputs: dict[str, Any] = {key: value for key, value in given.items() if key not in left_out}
        inputs.setdefault("sources", [self._parts.stores["intake"]])
        if not entry or self._parts.workflow_binding is None:
            inputs.setdefault("results", self._parts.stores["results"])
        inputs.setdefault("model", self._model(given.get("loads_model")))
        if given.get("guards_effects") is True:
            inputs.setdefault("ledger", self._ledger)
        if given.get("calls_service") is True:
            return {**self._serving, **inputs}
        return {**self._args.get("functions_network", {}), **inputs}

    def _workflow(self) -> None:
        if "workflow" in self._existing:
            self._parts.workflow_binding = self._existing["workflow"]
            return
        elsewhere = self._existing.get("functions", {})
        steps: dict[str, pulumi.Input[str]] = {
            label: made.arn for label, made in self._parts.functions.items()
        }
        steps |= {label: step["arn"] for label, step in elsewhere.items()}
        if not steps:
            return
        inputs: dict[str, Any] = {
            "functions": steps,
            "dead_letters": self._parts.queue_binding,
            **self._args.get("workflow", {}),
        }
        own = inputs.get("step_timeouts_s")
        if own is None or isinstance(own, Mapping):
            inputs["step_timeouts_s"] = {**self._step_timeouts(), **(own or {})}
        if "service" in self._serving:
            inputs.setdefault("service", self._serving["service"])
        written = {
            f"step_timeouts_s.{label}": self._timeout_key(label)
            for label in self._parts.functions
            if not isinstance(own, Mapping) or label not in own
        }
        self._parts.workflow = self._part(WORKFLOW, "workflow", "workflow", inputs, written=written)
        self._parts.workflow_binding = self._parts.workflow.binding()

    def _step_timeouts(self) -> dict[str, pulumi.Input[int]]:
        """Longest attempt of each step: its function's timeout, and the init phase that may come before it."""
        return {
            label: derive(lambda timeout: timeout + LAMBDA_INIT_MAX_S, self._timeout_s(label))
            for label in self._parts.functions
        }

    def _timeout_s(self, label: str) -> pulumi.Input[int]:
        """Timeout of a function; the default in place of one that its own check refuses."""
        given = self._args["functions"][label].get("timeout_s", TIMEOUT_S)
        sound = not known(given) or (isinstance(given, int | float) and not isinstance(given, bool))
        return given if sound else TIMEOUT_S

    def _timeout_key(self, label: str) -> str:
        return f"functions.{label}.timeout_s"

    def _enter(self) -> None:
        label = self._args["entry"]
        inputs = self._function(label)
        inputs |= {"queue": self._parts.queue_binding, "dead_letters": self._parts.queue_binding}
        if self._parts.workflow_binding is not None:
            inputs["workflow"] = self._parts.workflow_binding
        self._parts.functions[label] = self._part(ENTRY, f"functions.{label}", label, inputs)

    def _observe(self) -> None:
        parts = self._parts
        elsewhere = self._existing.get("functions", {})
        # The entry first, then its steps: the order of the dashboard's graphs.
        labels = [self._args["entry"], *(f for f in parts.functions if f != self._args["entry"])]
        parts.function_names = {label: parts.functions[label].function_name for label in labels}
        if not self._args.get("observe", True):
            return
        inputs: dict[str, Any] = {
            "functions": {
                **parts.function_names,
                **{label: step["function_name"] for label, step in elsewhere.items()},
            },
            "budgets_ms": self._args.get("budgets_ms", {}),
        }
        if parts.queue is not None:
            inputs["queues"] = {"burst": parts.queue.queue_name}
            inputs["parked_queues"] = {"burst": parts.queue.parked_name}
        if "service" in self._serving:
            inputs["services"] = {POOL: self._serving["service"]["name"]}
        if parts.service is not None:
            inputs["tasks"] = {POOL: parts.service.tasks()}
        if parts.workflow_binding is not None:
            inputs["workflow_arn"] = parts.workflow_binding["arn"]
        own = self._args.get("observability", {})
        written = {} if "budgets_ms" in own else {"budgets_ms": "budgets_ms"}
        parts.observability = self._part(
            OBSERVABILITY, "observability", "observe", {**inputs, **own}, written=written
        )


def _declared(kind: Kind) -> frozenset[str]:
    """Names of a component's inputs."""
    return frozenset(kind.declared.__annotations__)
