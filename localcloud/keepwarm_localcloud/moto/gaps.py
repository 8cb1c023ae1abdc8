"""Operations that moto lacks or only partly implements, of services that it answers for us.

Each runs as a hook before moto's own answer, under the lock of its backend.
"""

from collections.abc import Callable
from typing import Any

from keepwarm_localcloud.moto.base import Moto
from keepwarm_localcloud.request import AwsError, Request, Response


def log_group_keys(moto: Moto) -> Callable[[Request], Response | None]:
    """Answer AssociateKmsKey and DisassociateKmsKey of CloudWatch Logs, which moto does not know.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_AssociateKmsKey.html. What was written
    before keeps its encryption on AWS; here nothing is encrypted either way.
    """

    def hook(request: Request) -> Response | None:
        operation = request.target()
        if operation not in ("AssociateKmsKey", "DisassociateKmsKey"):
            return None
        body = request.json()
        named = (
            body.get("logGroupName") or str(body.get("resourceIdentifier", "")).partition(":log-group:")[2]
        )
        group = moto.backend("logs", region=request.region).groups.get(named.removesuffix(":*"))
        if group is None:
            raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
        key = body.get("kmsKeyId") if operation == "AssociateKmsKey" else None
        if operation == "AssociateKmsKey" and not (isinstance(key, str) and key.startswith("arn:")):
            raise AwsError("InvalidParameterException", f"kmsKeyId must be the ARN of a key, got {key!r}")
        group.kms_key_id = key
        return Response.of_json({}, content_type="application/x-amz-json-1.1")

    return hook


def table_settings(moto: Moto) -> Callable[[Request], None]:
    """Take over the encryption that UpdateTable names, which moto leaves as it was.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateTable.html
    """

    def hook(request: Request) -> None:
        if request.target() != "UpdateTable":
            return
        body: dict[str, Any] = request.json()
        tables = moto.backend("dynamodb", region=request.region).tables
        table = tables.get(str(body.get("TableName", "")).rpartition("/")[2])
        wanted = body.get("SSESpecification")
        if table is None or not isinstance(wanted, dict):
            return
        if wanted.get("Enabled") is not True:
            table.sse_specification = None
        else:
            key = wanted.get("KMSMasterKeyId") or table._get_default_encryption_key(
                moto.account_id, request.region
            )
            table.sse_specification = {**wanted, "KMSMasterKeyId": key}

    return hook
