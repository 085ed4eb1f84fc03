"""Asks AWS STS through botocore who one is, as ask.sh says."""
import sys

import botocore.session

session = botocore.session.Session(profile=sys.argv[1] if len(sys.argv) > 1 else None)
sts = session.create_client("sts")
print("botocore", sts.get_caller_identity()["Arn"], sts.meta.region_name)
