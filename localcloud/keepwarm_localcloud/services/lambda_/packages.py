"""Where a package comes from: the request itself, or an object in S3."""

import pybase64

from keepwarm import limits
from keepwarm_localcloud.package_by_digest import UNKNOWN_PACKAGE, PackageByDigest
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.code import CodeStore, Package
from keepwarm_localcloud.services.lambda_.errors import invalid
from keepwarm_localcloud.services.lambda_.shapes import Params


class Packages:
    """Takes packages into the store."""

    def __init__(self, context: Context, store: CodeStore) -> None:
        self._context = context
        self._store = store

    def of(self, code: Params) -> Package:
        """Take the package a request carries, names in S3, or names by the digest of one taken before.

        Raises:
            AwsError: none, not readable, too large, not known.
        """
        content = code.get("ZipFile")
        if isinstance(content, PackageByDigest):
            package = self._store.find(content.sha256)
            if package is None:
                raise AwsError(
                    UNKNOWN_PACKAGE,
                    f"This cloud holds no package with the SHA-256 {content.sha256}; send it.",
                    404,
                )
            return package
        if content is not None:
            try:
                return self._store.add(pybase64.b64decode(content, validate=True), direct=True)
            except ValueError as error:
                raise invalid("Could not unzip uploaded file: the ZipFile is not base64.") from error
        if not code.get("S3Bucket") or not code.get("S3Key"):
            raise invalid("Please provide a source for function code.")
        return self._store.add(self._object(code))

    def _object(self, place: Params) -> bytes:
        from botocore.exceptions import ClientError

        where = {"Bucket": place["S3Bucket"], "Key": place["S3Key"]}
        if place.get("S3ObjectVersion"):
            where["VersionId"] = place["S3ObjectVersion"]
        try:
            body: bytes = self._context.boto("s3").get_object(**where)["Body"].read()
        except ClientError as error:
            found = error.response["Error"]
            raise invalid(
                f"Error occurred while GetObject. S3 Error Code: {found['Code']}. S3 Error Message: {found['Message']}"
            ) from error
        return body


def check_unzipped(package: Package, layers: tuple[Package, ...]) -> None:
    """Refuse a package that is too large together with its layers.

    Raises:
        AwsError: InvalidParameterValueException.
    """
    total = package.unzipped + sum(layer.unzipped for layer in layers)
    if total > limits.LAMBDA_UNZIPPED_MAX_BYTES:
        raise invalid(
            f"Function code combined with layers exceeds the maximum allowed size of "
            f"{limits.LAMBDA_UNZIPPED_MAX_BYTES} bytes. The actual size is {total} bytes."
        )
