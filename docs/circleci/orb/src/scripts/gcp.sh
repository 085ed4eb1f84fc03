#!/bin/sh
# Writes a credential configuration for Google's tools, and the variables for the
# steps that follow.
set -eu
broker='' value=''
eval "$ORB_SHARED"
read_bash_env
need_broker

is_on "$ORB_BOOL_USE_OIDC" || fail 'use_oidc is false, and there are no keys here' 'leave use_oidc out'

# The parameters of circleci/gcp-cli that somebody gave and that have nothing to do
# here.
for one in version="$ORB_OTHER_VERSION" components="$ORB_OTHER_COMPONENTS" skip_install="$ORB_OTHER_SKIP_INSTALL" \
	gcloud_service_key="$ORB_OTHER_SERVICE_KEY"; do
	case $one in
	version=latest | components= | skip_install=false | skip_install=0 | gcloud_service_key=GCLOUD_SERVICE_KEY) ;;
	*) say "not used, and may go: ${one%%=*}" ;;
	esac
done

# place_of KIND demands what Google's zones and regions look like of value.
place_of() {
	case $value in
	*[!a-z0-9-]*) fail "the variable that google_compute_$1 names holds no $1" ;;
	esac
}

give_gcp
give_token
give_named CLOUDSDK_COMPUTE_ZONE google_compute_zone "$ORB_ENV_COMPUTE_ZONE" GOOGLE_COMPUTE_ZONE
place_of zone
zone=$value
give_named CLOUDSDK_COMPUTE_REGION google_compute_region "$ORB_ENV_COMPUTE_REGION" GOOGLE_COMPUTE_REGION
place_of region
region=$value

expand gcp_cred_config_file_path "$ORB_STR_CRED_FILE"
file=$value
case $file in
'') fail 'the parameter gcp_cred_config_file_path is empty' ;;
[~]/*) file=$HOME/${file#??} ;;
/* | [A-Za-z]:*) ;;
*) file=$PWD/$file ;;
esac

if [ -n "${BASH_ENV-}" ]; then
	"$broker" gcp env --bash-env --verbose --output-file "$file"
	[ -z "$zone" ] || for_later_steps "export CLOUDSDK_COMPUTE_ZONE='$zone'"
	[ -z "$region" ] || for_later_steps "export CLOUDSDK_COMPUTE_REGION='$region'"
else
	"$broker" gcp login --verbose --output-file "$file"
fi
if in_bash; then
	exit 0
fi

# The steps that follow do not read $BASH_ENV. gcloud has properties, and the
# client libraries look into its directory: some of them only into the one in the
# home directory.
property() {
	[ -z "$2" ] || gcloud --quiet config set "$1" "$2" || fail "gcloud does not take the property $1"
}
if command -v gcloud >/dev/null 2>&1; then
	property auth/credential_file_override "$file"
	property core/project "${GOOGLE_PROJECT_ID-}"
	property compute/zone "$zone"
	property compute/region "$region"
fi
own=$HOME/.config/gcloud
"$broker" gcp login --verbose --output-file "$own/application_default_credentials.json"
if [ "${CLOUDSDK_CONFIG:-$own}" != "$own" ]; then
	"$broker" gcp login --verbose --output-file "$CLOUDSDK_CONFIG/application_default_credentials.json"
fi
say "this job's shell does not read \$BASH_ENV: gcloud and the client libraries find the credentials by their own files; for the variables begin a step with  . \"\$BASH_ENV\""
