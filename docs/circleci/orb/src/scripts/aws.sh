#!/bin/sh
# Writes an AWS profile, and the variables for the steps that follow.
set -eu
broker=''
eval "$ORB_SHARED"
had_keys=${AWS_ACCESS_KEY_ID:+yes}
read_bash_env
need_broker

# say_unused names the parameters of circleci/aws-cli that somebody gave and that
# have nothing to do here.
say_unused() {
	unused=''
	for one in version="$ORB_OTHER_VERSION" override_installed="$ORB_OTHER_OVERRIDE_INSTALLED" \
		install_dir="$ORB_OTHER_INSTALL_DIR" binary_dir="$ORB_OTHER_BINARY_DIR" use_brew="$ORB_OTHER_USE_BREW" \
		aws_access_key_id="$ORB_OTHER_AWS_ACCESS_KEY_ID" aws_secret_access_key="$ORB_OTHER_AWS_SECRET_ACCESS_KEY" \
		configure_default_region="$ORB_OTHER_CONFIGURE_DEFAULT_REGION" \
		configure_profile_region="$ORB_OTHER_CONFIGURE_PROFILE_REGION"; do
		case $one in
		version=latest | install_dir=/usr/local/aws-cli | binary_dir=/usr/local/bin | aws_*=) ;;
		override_installed=false | override_installed=0 | use_brew=false | use_brew=0) ;;
		configure_*=true | configure_*=1) ;;
		*) unused="$unused ${one%%=*}" ;;
		esac
	done
	[ -z "$unused" ] || say "not used, and may go:$unused"
}

# write_profile writes the profile. The program compares it with what the steps that
# follow have: in sh that is nothing of $BASH_ENV, and in bash with set_aws_env_vars
# the variables that are written next, not those of this step.
write_profile() (
	if ! in_bash; then
		unset BASH_ENV
		[ -n "$had_keys" ] || unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
	elif is_on "$ORB_BOOL_SET_AWS_ENV_VARS" && [ -n "${BASH_ENV-}" ]; then
		unset BASH_ENV AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_WEB_IDENTITY_TOKEN_FILE
		# The region may come from the profile that the job names.
		[ -z "${AWS_REGION-}${AWS_DEFAULT_REGION-}" ] || unset AWS_PROFILE AWS_DEFAULT_PROFILE
		[ -z "${AWS_REGION-}" ] || unset AWS_DEFAULT_REGION
	fi
	"$broker" aws profile --verbose
)

say_unused
give_aws
give_token
give OIDC_BROKER_PROFILE profile_name "$ORB_STR_PROFILE_NAME"

write_profile
if is_on "$ORB_BOOL_SET_AWS_ENV_VARS" && [ -n "${BASH_ENV-}" ]; then
	"$broker" aws env --bash-env --verbose
	in_bash ||
		say "this job's shell does not read \$BASH_ENV: the steps that follow use the profile, or begin with  . \"\$BASH_ENV\""
fi
# The AWS CLI's pager waits for a key in a job's terminal.
if is_on "$ORB_BOOL_DISABLE_AWS_PAGER" && [ -z "${AWS_PAGER+set}" ]; then
	for_later_steps "export AWS_PAGER=''"
fi
if ! is_on "$ORB_BOOL_DISABLE_AWS_INSTALL" && ! command -v aws >/dev/null 2>&1; then
	say 'there is no AWS CLI in this image. Nothing here needs one; steps that call aws do'
fi
