#!/bin/sh
# Takes back what the orb's other commands wrote on this machine.
set -eu
broker=''
eval "$ORB_SHARED"
read_bash_env

if ! find_broker; then
	say 'oidc-broker is not installed in this job: there is nothing to take back'
	exit 0
fi
"$broker" cleanup --verbose

# In sh, the command gcp told gcloud by a property, which names a file that is gone
# now.
if ! in_bash && command -v gcloud >/dev/null 2>&1; then
	file=$(gcloud --quiet config get auth/credential_file_override 2>/dev/null || true)
	if [ -n "$file" ] && [ ! -e "$file" ]; then
		gcloud --quiet config unset auth/credential_file_override
	fi
fi
