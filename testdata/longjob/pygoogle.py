"""Google's library for Python, one session for all its life."""
import os
import time

import google.auth
from google.auth.transport.requests import AuthorizedSession

credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
session = AuthorizedSession(credentials)
url = os.environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER"] + "v1/projects/123456789012"
end, now, asked, tokens = time.time() + int(os.environ["LONG_SECONDS"]), 0, 0, set()
while now < end:
    now = time.time()
    answer = session.get(url)
    assert answer.json()["lifecycleState"] == "ACTIVE", answer.text
    tokens.add(credentials.token)
    asked += 1
    time.sleep(float(os.environ["LONG_PAUSE"]))
print("python asked", asked, "times with", len(tokens), "tokens", flush=True)
