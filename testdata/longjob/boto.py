"""boto3, one client for all its life."""
import os
import sys
import time

import boto3

session = boto3.Session(profile_name=sys.argv[1] if len(sys.argv) > 1 else None)
sts = session.client("sts")
end, now, asked, keys = time.time() + int(os.environ["LONG_SECONDS"]), 0, 0, set()
while now < end:
    now = time.time()
    sts.get_caller_identity()
    keys.add(session.get_credentials().get_frozen_credentials().access_key)
    asked += 1
    time.sleep(float(os.environ["LONG_PAUSE"]))
print("boto asked", asked, "times with", len(keys), "keys", flush=True)
