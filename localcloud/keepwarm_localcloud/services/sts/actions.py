"""What STS asks of IAM for each request: actions, resources and condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html
"""

import urllib.parse

from keepwarm_localcloud.iam.actions import Ask, Names
from keepwarm_localcloud.request import Request


def asks(request: Request, names: Names) -> list[Ask]:
    """What must be allowed for a request."""
    form = urllib.parse.parse_qs(request.body.decode("utf-8", "replace"))
    action = form.get("Action", [""])[0]
    if action == "GetCallerIdentity":
        # AWS allows it to everybody, even against an explicit deny.
        return []
    return [Ask(f"sts:{action}", form.get("RoleArn", ["*"]))]
