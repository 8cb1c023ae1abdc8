"""AWS-managed policies, one by one as they are named: loading all 1,500 would cost every start a tenth of a second."""

import json
import re
import urllib.parse
from typing import Final

from keepwarm_localcloud.moto.base import Moto
from keepwarm_localcloud.request import Request

_ARN: Final = re.compile(r"arn:aws:iam::aws:policy/(?:[\w+=,.@-]+/)*([\w+=,.@-]+)")


def ensure_managed_policies(moto: Moto, request: Request) -> None:
    """Make the AWS-managed policies that a request to IAM names known to moto, whose data has them all."""
    if b"aws" not in request.body:
        return
    text = urllib.parse.unquote_plus(request.body.decode("utf-8", "replace"))
    for match in _ARN.finditer(text):
        backend = moto.backend("iam")
        if match.group(0) in backend.managed_policies:
            continue
        from moto.iam.aws_managed_policies import aws_managed_policies_data
        from moto.iam.models import AWSManagedPolicy

        name = match.group(1)
        # The data is one text of 5 MB; parsing just this policy is what makes it cheap.
        at = re.search(rf'"{re.escape(name)}":\s*(?=\{{)', aws_managed_policies_data)
        if at is None:
            continue
        data, _ = json.JSONDecoder().raw_decode(aws_managed_policies_data, at.end())
        policy = AWSManagedPolicy.from_data(name, moto.account_id, moto.region, data)
        backend.managed_policies[policy.arn] = policy
        backend.aws_managed_policies.append(policy)
