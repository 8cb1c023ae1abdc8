"""First code of a Python environment: sets the import path of Lambda, then runs AWS's runtime client.

Run as a script by the bare interpreter (`-S`: no site-packages), so that a function imports its package, its layers
and the runtime, in AWS's order, and never what happens to be installed beside the embedded cloud:
https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath
"""

import os
import sys

if __name__ == "__main__":
    sys.path[0:1] = os.environ.pop("_KEEPWARM_PATH").split(os.pathsep)
    from awslambdaric.__main__ import main

    main([sys.argv[0], os.environ["_HANDLER"]])
