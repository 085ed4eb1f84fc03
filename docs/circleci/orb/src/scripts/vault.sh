#!/bin/sh
# Logs in to Vault or OpenBao, and hands the token and secrets to the steps that
# follow.
set -eu
broker=''
eval "$ORB_SHARED"
read_bash_env
need_broker

give_vault
give_token

if is_on "$ORB_BOOL_WRITE_TOKEN_FILE" || ! in_bash || [ -z "${BASH_ENV-}" ]; then
	"$broker" vault login --verbose
fi
if [ -n "${BASH_ENV-}" ]; then
	"$broker" vault env --bash-env --verbose
fi
in_bash ||
	say "this job's shell does not read \$BASH_ENV: vault and bao find the token by its file; for the secrets begin a step with  . \"\$BASH_ENV\""
