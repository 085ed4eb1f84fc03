#!/bin/sh
# Runs a command with credentials that are gone when it ends.
set -eu
broker=''
eval "$ORB_SHARED"
read_bash_env
need_broker

case $ORB_STR_PROVIDER in
aws) give_aws ;;
gcp) give_gcp ;;
vault) give_vault ;;
*) fail "the provider '$ORB_STR_PROVIDER' is not aws, gcp or vault" ;;
esac
if [ -z "$ORB_STR_TOKEN_VERSION" ] && [ "$ORB_STR_PROVIDER" = aws ]; then
	ORB_STR_TOKEN_VERSION=v2
fi
give_token

# The command runs as a step of this job would, and without the variables by
# which this script speaks to oidc-broker.
if in_bash; then
	set -- bash -eo pipefail -c "$ORB_STR_COMMAND"
else
	set -- sh -e -c "$ORB_STR_COMMAND"
fi
provider=$ORB_STR_PROVIDER
for name in $(env | sed -n 's/^\(ORB_[A-Z_]*\)=.*/\1/p'); do
	unset "$name"
done
exec "$broker" "$provider" exec -- sh -c "unset ${given-}"' && exec "$@"' sh "$@"
