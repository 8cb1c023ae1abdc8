"""Layers: packages that functions share, in immutable versions."""

import threading

from keepwarm import limits
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.code import Package
from keepwarm_localcloud.services.lambda_.errors import invalid
from keepwarm_localcloud.services.lambda_.model import LayerVersion
from keepwarm_localcloud.services.lambda_.packages import Packages, check_unzipped
from keepwarm_localcloud.services.lambda_.shapes import Params, iso, page


class Layers:
    """The layers and the operations on them."""

    def __init__(self, context: Context, lock: threading.RLock, packages: Packages) -> None:
        self._context = context
        self._lock = lock
        self._packages = packages
        self.versions: dict[str, dict[int, LayerVersion]] = {}
        self._numbers: dict[str, int] = {}

    def publish_layer_version(self, p: Params) -> Params:
        """PublishLayerVersion."""
        name = p["LayerName"].rpartition(":")[2]
        package = self._packages.of(p["Content"])
        with self._lock:
            number = self._numbers.get(name, 0) + 1
            self._numbers[name] = number
            arn = f"arn:aws:lambda:{self._context.region}:{self._context.account_id}:layer:{name}"
            layer = LayerVersion(
                name, number, f"{arn}:{number}", package, iso(self._context.clock.now_s()), p.get("Description", ""),
                p.get("LicenseInfo", ""), list(p.get("CompatibleRuntimes", [])),
                list(p.get("CompatibleArchitectures", [])),
            )  # fmt: skip
            self.versions.setdefault(name, {})[number] = layer
        return self._view(layer, content=True)

    def get_layer_version(self, p: Params) -> Params:
        """GetLayerVersion."""
        name, number = p["LayerName"].rpartition(":")[2], int(p["VersionNumber"])
        layer = self.versions.get(name, {}).get(number)
        if layer is None:
            raise AwsError("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        return self._view(layer, content=True)

    def get_layer_version_by_arn(self, p: Params) -> Params:
        """GetLayerVersionByArn."""
        return self._view(self.find(p["Arn"]), content=True)

    def delete_layer_version(self, p: Params) -> Params:
        """DeleteLayerVersion; functions that use it keep it."""
        with self._lock:
            versions = self.versions.get(p["LayerName"].rpartition(":")[2], {})
            versions.pop(int(p["VersionNumber"]), None)
        return {}

    def list_layer_versions(self, p: Params) -> Params:
        """ListLayerVersions, newest first."""
        versions = self.versions.get(p["LayerName"].rpartition(":")[2], {})
        rows = [self._view(versions[n]) for n in sorted(versions, reverse=True)]
        return page(rows, p, "LayerVersions", "NextMarker")

    def list_layers(self, p: Params) -> Params:
        """ListLayers."""
        rows = []
        for name, versions in sorted(self.versions.items()):
            if versions:
                newest = versions[max(versions)]
                arn = newest.arn.rpartition(":")[0]
                rows.append({"LayerName": name, "LayerArn": arn, "LatestMatchingVersion": self._view(newest)})
        return page(rows, p, "Layers", "NextMarker")

    def find(self, arn: str) -> LayerVersion:
        """Give the layer version of an ARN.

        Raises:
            AwsError: InvalidParameterValueException.
        """
        name, _, number = arn.removeprefix("arn:").partition(":layer:")[2].partition(":")
        layer = self.versions.get(name, {}).get(int(number) if number.isdigit() else 0)
        if layer is None:
            raise invalid(f"Layer version {arn} does not exist.")
        return layer

    def packages(self, arns: list[str], package: Package) -> tuple[Package, ...]:
        """Give the packages of the layers of a function, if they fit it.

        Raises:
            AwsError: too many, twice the same layer, or too large together.
        """
        if len(arns) > limits.LAMBDA_LAYERS_MAX:
            raise invalid(f"Cannot reference more than {limits.LAMBDA_LAYERS_MAX} layers.")
        layers = [self.find(arn) for arn in arns]
        names = [layer.name for layer in layers]
        if len(set(names)) < len(names):
            raise invalid(
                "Two different versions of the same layer are not allowed to be referenced in the same function."
            )
        packages = tuple(layer.package for layer in layers)
        check_unzipped(package, packages)
        return packages

    def _view(self, layer: LayerVersion, *, content: bool = False) -> Params:
        answer: Params = {
            "LayerVersionArn": layer.arn,
            "Version": layer.number,
            "Description": layer.description,
            "CreatedDate": layer.created,
            "CompatibleRuntimes": layer.runtimes,
            "CompatibleArchitectures": layer.architectures,
            "LicenseInfo": layer.license_info,
        }
        if content:
            answer["LayerArn"] = layer.arn.rpartition(":")[0]
            answer["Content"] = {
                "Location": layer.package.archive.as_uri(),
                "CodeSha256": layer.package.sha256,
                "CodeSize": layer.package.size,
            }
        return answer
