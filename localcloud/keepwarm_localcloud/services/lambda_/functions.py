"""Functions and their versions: the part of the API that says what code there is and how it runs."""

import copy
import threading
import uuid
from typing import Any

from keepwarm import limits
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.errors import conflict, invalid, not_found, refuse
from keepwarm_localcloud.services.lambda_.launch import Launch
from keepwarm_localcloud.services.lambda_.layers import Layers
from keepwarm_localcloud.services.lambda_.model import (
    LATEST,
    Function,
    Version,
    split_reference,
)
from keepwarm_localcloud.services.lambda_.packages import Packages, check_unzipped
from keepwarm_localcloud.services.lambda_.pools import Pools
from keepwarm_localcloud.services.lambda_.runtimes import Runtimes
from keepwarm_localcloud.services.lambda_.shapes import Params, iso, page

_STALE_REVISION = (
    "The RevisionId provided does not match the latest RevisionId. Call the GetFunction/GetAlias API to retrieve the "
    "latest RevisionId"
)
_LOG_LEVELS = ("ApplicationLogLevel", "SystemLogLevel")
"""Settings of LogFormat JSON alone: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html"""


class Functions:
    """The registry of functions, and the operations on it."""

    def __init__(
        self, context: Context, lock: threading.RLock, packages: Packages, layers: Layers, runtimes: Runtimes
    ) -> None:
        self._context = context
        self._lock = lock
        self._packages = packages
        self.layers = layers
        self._runtimes = runtimes
        self.functions: dict[str, Function] = {}
        self.pools: Pools
        """Set once by the service, which makes both."""

    # --- lookups ------------------------------------------------------------------------------------------------

    def arn(self, name: str) -> str:
        """Unqualified ARN of a function name."""
        return f"arn:aws:lambda:{self._context.region}:{self._context.account_id}:function:{name}"

    def find(self, reference: str, qualifier: str | None = None) -> tuple[Function, str | None]:
        """Give a function and the qualifier a reference names.

        Raises:
            AwsError: ResourceNotFoundException.
        """
        name, qualifier = split_reference(reference, qualifier)
        function = self.functions.get(name)
        if function is None:
            raise not_found(f"{self.arn(name)}{':' + qualifier if qualifier else ''}")
        return function, qualifier

    def version(self, function: Function, qualifier: str | None) -> Version:
        """Give the version a qualifier stands for, without regard to weights.

        Raises:
            AwsError: ResourceNotFoundException.
        """
        if qualifier is None:
            return function.latest
        alias = function.aliases.get(qualifier)
        found = function.versions.get(alias.version if alias else qualifier)
        if found is None:
            raise not_found(function.qualified_arn(qualifier))
        return found

    def launch(self, function: Function, version: Version) -> Launch:
        """Give what environments of a version start with."""
        config = version.config
        logging = config["LoggingConfig"]
        return Launch(
            function=function.name,
            version=version.number,
            arn=function.qualified_arn(version.number),
            runtime=config["Runtime"],
            handler=config["Handler"],
            role_arn=config["Role"],
            memory_mb=version.memory_mb,
            timeout_s=version.timeout_s,
            ephemeral_mb=int(config["EphemeralStorage"]["Size"]),
            code=version.package.directory,
            layers=tuple(layer.directory for layer in version.layers),
            variables=version.variables,
            log_group=logging["LogGroup"],
            json_log=logging["LogFormat"] == "JSON",
            log_level=logging.get("ApplicationLogLevel", ""),
            snap_start=version.snap_start,
        )

    # --- functions ----------------------------------------------------------------------------------------------

    def create_function(self, p: Params) -> Params:
        """CreateFunction."""
        name, qualifier = split_reference(p["FunctionName"])
        if qualifier or len(name) > limits.LAMBDA_NAME_MAX_CHARS:
            raise AwsError(
                "ValidationException",
                f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: "
                f"Member must have length less than or equal to {limits.LAMBDA_NAME_MAX_CHARS}",
            )
        if name in self.functions:
            raise conflict(f"Function already exist: {name}")
        if p.get("PackageType") == "Image" or "ImageUri" in p["Code"]:
            raise refuse(
                "KW625",
                "PackageType: got Image; allowed here Zip; because a container image can't run without Docker; fix: "
                "build the function as a zip",
            )
        if not p.get("Runtime") or not p.get("Handler"):
            raise invalid(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages."
            )
        self._check_role(p["Role"])
        package = self._packages.of(p["Code"])
        now = iso(self._context.clock.now_s())
        config = self._defaults(name)
        self._merge(config, p)
        layers = self.layers.packages(p.get("Layers", []), package)
        variables = dict((p.get("Environment") or {}).get("Variables") or {})
        version = Version(
            LATEST, config, package, layers, variables, str(uuid.uuid4()), now, p.get("Description", "")
        )
        self._check_config(version)
        function = Function(name, self.arn(name), {LATEST: version}, tags=dict(p.get("Tags") or {}))
        with self._lock:
            if name in self.functions:
                raise conflict(f"Function already exist: {name}")
            self.functions[name] = function
            if p.get("Publish"):
                version = self._publish(function, p.get("Description", ""))
        return self.configuration(function, version, qualified=version.number != LATEST)

    def update_function_code(self, p: Params) -> Params:
        """UpdateFunctionCode."""
        function, _ = self.find(p["FunctionName"])
        check_revision(p, function.latest.revision_id)
        self._begin(function)
        try:
            package = self._packages.of(p)
            latest = function.latest
            check_unzipped(package, latest.layers)
            if p.get("DryRun"):
                return self.configuration(function, latest)
            config = copy.deepcopy(latest.config)
            if p.get("Architectures"):
                config["Architectures"] = list(p["Architectures"])
            self._replace_latest(function, config=config, package=package)
            with self._lock:
                version = self._publish(function, "") if p.get("Publish") else function.latest
        finally:
            function.updating = False
        return self.configuration(function, version, qualified=version.number != LATEST)

    def update_function_configuration(self, p: Params) -> Params:
        """UpdateFunctionConfiguration."""
        function, _ = self.find(p["FunctionName"])
        check_revision(p, function.latest.revision_id)
        self._begin(function)
        try:
            latest = function.latest
            config = copy.deepcopy(latest.config)
            self._merge(config, p)
            if "Role" in p:
                self._check_role(p["Role"])
            layers = self.layers.packages(p["Layers"], latest.package) if "Layers" in p else latest.layers
            variables = latest.variables
            if "Environment" in p:
                variables = dict((p["Environment"] or {}).get("Variables") or {})
            changed = Version(
                LATEST, config, latest.package, layers, variables, latest.revision_id, latest.modified,
                p.get("Description", latest.description),
            )  # fmt: skip
            self._check_config(changed)
            self._replace_latest(
                function, config=config, layers=layers, variables=variables, description=changed.description
            )
        finally:
            function.updating = False
        return self.configuration(function, function.latest)

    def get_function(self, p: Params) -> Params:
        """GetFunction."""
        function, qualifier = self.find(p["FunctionName"], p.get("Qualifier"))
        version = self.version(function, qualifier)
        location = version.package.archive.as_uri()
        answer: Params = {
            "Configuration": self.configuration(function, version, qualifier=qualifier),
            "Code": {"RepositoryType": "S3", "Location": location},
        }
        if function.tags:
            answer["Tags"] = dict(function.tags)
        if function.reserved is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved}
        return answer

    def get_function_configuration(self, p: Params) -> Params:
        """GetFunctionConfiguration."""
        function, qualifier = self.find(p["FunctionName"], p.get("Qualifier"))
        return self.configuration(function, self.version(function, qualifier), qualifier=qualifier)

    def list_functions(self, p: Params) -> Params:
        """ListFunctions."""
        rows = []
        for name in sorted(self.functions):
            function = self.functions[name]
            if p.get("FunctionVersion") == "ALL":
                rows += [self.configuration(function, v, qualified=True) for v in function.versions.values()]
            else:
                rows.append(self.configuration(function, function.latest))
        return page(rows, p, "Functions", "NextMarker")

    def delete_function(self, p: Params) -> Params:
        """DeleteFunction."""
        function, qualifier = self.find(p["FunctionName"], p.get("Qualifier"))
        with self._lock:
            if qualifier is None:
                self.functions.pop(function.name, None)
            else:
                self._delete_version(function, qualifier)
        self.pools.forget(function.name, qualifier)
        return {}

    def _delete_version(self, function: Function, number: str) -> None:
        if number == LATEST:
            raise invalid("$LATEST version cannot be deleted without deleting the function.")
        if number in function.aliases:
            raise invalid("Alias qualifier cannot be used to delete a function; use DeleteAlias.")
        users = [a.name for a in function.aliases.values() if number in (a.version, *a.shown_weights())]
        if users:
            raise conflict(
                f"Version {number} can not be deleted because it is referenced by alias(es): {', '.join(users)}"
            )
        function.versions.pop(number, None)

    def configuration(
        self, function: Function, version: Version, *, qualified: bool = False, qualifier: str | None = None
    ) -> Params:
        """A version as the API shows it."""
        qualifier = qualifier or (version.number if qualified else None)
        config = copy.deepcopy(version.config)
        apply_on = config["SnapStart"]["ApplyOn"]
        config["SnapStart"]["OptimizationStatus"] = "On" if version.snap_start else "Off"
        answer: Params = {
            "FunctionName": function.name,
            "FunctionArn": function.qualified_arn(qualifier),
            **config,
            "SnapStart": {
                "ApplyOn": apply_on,
                "OptimizationStatus": config["SnapStart"]["OptimizationStatus"],
            },
            "CodeSize": version.package.size,
            "CodeSha256": version.package.sha256,
            "Description": version.description,
            "LastModified": version.modified,
            "Version": version.number,
            "RevisionId": version.revision_id,
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "RuntimeVersionConfig": {
                "RuntimeVersionArn": f"arn:aws:lambda:{self._context.region}::runtime:keepwarm-{config['Runtime']}"
            },
        }
        if version.variables:
            answer["Environment"] = {"Variables": dict(version.variables)}
        return answer

    def _begin(self, function: Function) -> None:
        with self._lock:
            if function.updating:
                raise conflict(
                    "The operation cannot be performed at this time. An update is in progress for resource: "
                    f"{function.arn}"
                )
            function.updating = True

    def _replace_latest(self, function: Function, **changes: Any) -> None:
        with self._lock:
            latest = function.latest
            values: dict[str, Any] = {
                "config": latest.config,
                "package": latest.package,
                "layers": latest.layers,
                "variables": latest.variables,
                "description": latest.description,
                **changes,
            }
            now = iso(self._context.clock.now_s())
            new = Version(number=LATEST, revision_id=str(uuid.uuid4()), modified=now, **values)
            function.versions[LATEST] = new
        self.pools.retire(function.name, keep=(LATEST, new.revision_id))

    # --- checks -------------------------------------------------------------------------------------------------

    def _defaults(self, name: str) -> Params:
        return {
            "Description": "",
            "Timeout": limits.LAMBDA_TIMEOUT_DEFAULT_S,
            "MemorySize": limits.LAMBDA_MEMORY_DEFAULT_MB,
            "EphemeralStorage": {"Size": limits.LAMBDA_EPHEMERAL_DEFAULT_MB},
            "TracingConfig": {"Mode": "PassThrough"},
            "Architectures": ["x86_64"],
            "SnapStart": {"ApplyOn": "None"},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"},
        }

    def _merge(self, config: Params, p: Params) -> None:
        for key in (
            "Description",
            "Runtime",
            "Role",
            "Handler",
            "Timeout",
            "MemorySize",
            "KMSKeyArn",
            "Architectures",
        ):
            if p.get(key) is not None:
                config[key] = p[key]
        for key in ("EphemeralStorage", "TracingConfig", "SnapStart", "VpcConfig", "CapacityProviderConfig"):
            if p.get(key) is not None:
                config[key] = copy.deepcopy(p[key])
        if "VpcConfig" in config:
            config["VpcConfig"] = self.resolve_vpc(config["VpcConfig"])
        if p.get("LoggingConfig") is not None:
            config["LoggingConfig"] = _logging(config["LoggingConfig"], p["LoggingConfig"])
        if p.get("DeadLetterConfig") is not None:
            target = p["DeadLetterConfig"].get("TargetArn")
            config.pop("DeadLetterConfig", None)
            if target:
                config["DeadLetterConfig"] = {"TargetArn": target}
        if p.get("FileSystemConfigs"):
            raise refuse(
                "KW625",
                "FileSystemConfigs: got an EFS access point; allowed here none; because the embedded cloud has no "
                "network file system; fix: leave it out of the local stack",
            )
        if p.get("Layers") is not None:
            found = {arn: self.layers.find(arn).package for arn in p["Layers"]}
            for arn, package in found.items():
                if (package.directory / "extensions").is_dir():
                    raise refuse(
                        "KW625",
                        f"Layers: got {arn}, which brings an extension; allowed here layers without extensions/; "
                        "because the embedded cloud starts no extensions; fix: leave the layer out of the local stack",
                    )
            config["Layers"] = [{"Arn": arn, "CodeSize": package.size} for arn, package in found.items()]

    def _check_config(self, version: Version) -> None:
        """Refuse what AWS refuses about a version's settings together.

        Raises:
            AwsError: in AWS's words, where AWS publishes them.
        """
        config = version.config
        runtime = config["Runtime"]
        if runtime not in limits.LAMBDA_RUNTIMES:
            raise invalid(
                f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
                f"[{', '.join(sorted(limits.LAMBDA_RUNTIMES))}] or be a valid ARN"
            )
        self._runtimes.check(runtime)
        reserved = sorted(set(version.variables) & limits.LAMBDA_ENV_RESERVED)
        if reserved:
            raise invalid(
                "Lambda was unable to configure your environment variables because the environment variables you have "
                "provided contains reserved keys that are currently not supported for modification. Reserved keys used "
                f"in this request: {', '.join(reserved)}"
            )
        size = sum(len(k.encode()) + len(v.encode()) for k, v in version.variables.items())
        if size > limits.LAMBDA_ENV_MAX_BYTES:
            raise invalid(
                "Lambda was unable to configure your environment variables because the environment variables you have "
                "provided exceeded the 4KB limit. String measured: "
                f"{{{', '.join(f'{k!r}' for k in sorted(version.variables))}}} ({size} bytes)"
            )
        if config["SnapStart"]["ApplyOn"] == "PublishedVersions":
            if runtime not in limits.SNAPSTART_RUNTIMES:
                raise invalid(f"{runtime} is not supported for SnapStart enabled functions.")
            if config["EphemeralStorage"]["Size"] > limits.SNAPSTART_EPHEMERAL_MAX_MB:
                raise invalid(
                    f"SnapStart is not supported with ephemeral storage greater than "
                    f"{limits.SNAPSTART_EPHEMERAL_MAX_MB} MB."
                )
        logging = config["LoggingConfig"]
        if logging["LogFormat"] == "Text" and logging.keys() & _LOG_LEVELS:
            raise invalid("ApplicationLogLevel and SystemLogLevel require LogFormat JSON.")

    def _check_role(self, role_arn: str) -> None:
        """Refuse a role that is missing or that Lambda may not assume.

        Raises:
            AwsError: InvalidParameterValueException, as AWS words it.
        """
        name = role_arn.rpartition("/")[2]
        roles = self._context.moto.backend("iam").roles.values()
        role = next((r for r in roles if r.name == name), None)
        if role is None or "lambda.amazonaws.com" not in str(role.assume_role_policy_document):
            raise invalid("The role defined for the function cannot be assumed by Lambda.")

    def resolve_vpc(self, given: Params) -> Params:
        """Complete the VPC settings of a function with the VPC its subnets are in.

        Raises:
            AwsError: InvalidParameterValueException, a subnet or security group does not exist.
        """
        from botocore.exceptions import ClientError

        subnets, groups = list(given.get("SubnetIds") or []), list(given.get("SecurityGroupIds") or [])
        if not subnets:
            return {"SubnetIds": [], "SecurityGroupIds": groups, "VpcId": ""}
        ec2 = self._context.boto("ec2")
        asking = "DescribeSubnets"
        try:
            found = ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
            asking = "DescribeSecurityGroups"
            ec2.describe_security_groups(GroupIds=groups)
        except ClientError as error:
            raise invalid(
                f"Error occurred while {asking}. EC2 Error Code: {error.response['Error']['Code']}. EC2 Error Message: "
                f"{error.response['Error']['Message']}"
            ) from error
        return {**given, "SubnetIds": subnets, "SecurityGroupIds": groups, "VpcId": found[0]["VpcId"]}

    # --- versions -----------------------------------------------------------------------------------------------

    def publish_version(self, p: Params) -> Params:
        """PublishVersion; the same code and configuration as the last one gives that one."""
        function, _ = self.find(p["FunctionName"])
        latest = function.latest
        check_revision(p, latest.revision_id)
        expected = p.get("CodeSha256")
        if expected and expected != latest.package.sha256:
            raise invalid(
                f"CodeSHA256 ({expected}) is different from current CodeSHA256 in $LATEST ({latest.package.sha256}). "
                "Please try again with the CodeSHA256 in $LATEST."
            )
        with self._lock:
            version = self._publish(function, p.get("Description", ""))
        return self.configuration(function, version, qualified=True)

    def _publish(self, function: Function, description: str) -> Version:
        latest = function.latest
        last = function.versions.get(str(function.next_version - 1))
        if last is not None and _same(last, latest):
            return last
        number = str(function.next_version)
        function.next_version += 1
        version = Version(
            number,
            copy.deepcopy(latest.config),
            latest.package,
            latest.layers,
            dict(latest.variables),
            str(uuid.uuid4()),
            iso(self._context.clock.now_s()),
            description or latest.description,
        )
        function.versions[number] = version
        return version

    def list_versions_by_function(self, p: Params) -> Params:
        """ListVersionsByFunction."""
        function, _ = self.find(p["FunctionName"])
        rows = [self.configuration(function, v, qualified=True) for v in function.versions.values()]
        return page(rows, p, "Versions", "NextMarker")


def check_revision(p: Params, current: str) -> None:
    """Refuse a change that was decided on an older revision.

    Raises:
        AwsError: PreconditionFailedException.
    """
    if p.get("RevisionId") not in (None, current):
        raise AwsError("PreconditionFailedException", _STALE_REVISION, 412)


def _same(published: Version, latest: Version) -> bool:
    return (
        published.package.sha256 == latest.package.sha256
        and published.config == latest.config
        and published.layers == latest.layers
        and published.variables == latest.variables
    )


def _logging(before: Params, given: Params) -> Params:
    """Merge log settings: JSON has levels, and Text only those that the request gives, which are then refused."""
    logging = {**before, **given}
    for level in _LOG_LEVELS:
        if logging["LogFormat"] == "JSON":
            logging.setdefault(level, "INFO")
        elif level not in given:
            logging.pop(level, None)
    return logging
