# shellcheck shell=sh disable=SC2016,SC2034
# What the orb's scripts share: each evaluates this text, which comes to it in
# ORB_SHARED, first. It is POSIX: Alpine has no bash, and macOS an old one.

say() { printf 'oidc-broker orb: %s\n' "$1"; }

# fail TEXT [HINT...] ends the step.
fail() {
	printf 'oidc-broker orb: error: %s\n' "$1" >&2
	shift
	for hint; do
		printf 'oidc-broker orb: hint: %s\n' "$hint" >&2
	done
	exit 1
}

# is_on VALUE: a published orb renders true as 1, one within a configuration as
# true.
is_on() {
	case ${1-} in
	1 | true) return 0 ;;
	*) return 1 ;;
	esac
}

# is_name TEXT says whether a text may be the name of a variable, and so be
# evaluated.
is_name() {
	case ${1-} in
	'' | [0-9]* | *[!A-Za-z0-9_]*) return 1 ;;
	*) return 0 ;;
	esac
}

# look_up NAME sets value to what the variable holds.
look_up() {
	is_name "$1" || fail "'$1' is not the name of a variable" "this parameter takes the name alone, without \$"
	eval "value=\${$1-}"
}

# expand PARAMETER TEXT sets value to the text with each $NAME and ${NAME}
# replaced by what that variable holds. Nothing else is: no command runs, and
# what a variable holds is not looked at again.
expand() {
	parameter=$1 rest=$2 text=''
	while :; do
		case $rest in
		*'$'*) ;;
		*) break ;;
		esac
		text=$text${rest%%'$'*}
		rest=${rest#*'$'}
		case $rest in
		'{'*'}'*)
			name=${rest#'{'}
			name=${name%%'}'*}
			after=${rest#*'}'}
			;;
		*)
			name=${rest%%[!A-Za-z0-9_]*}
			after=${rest#"$name"}
			;;
		esac
		if ! is_name "$name"; then
			text=$text'$'
			continue
		fi
		look_up "$name"
		[ -n "$value" ] || fail "the parameter $parameter names the variable $name, which is not set in this job" \
			'is it in a context that this job has, or set in an earlier step through $BASH_ENV?'
		text=$text$value
		rest=$after
	done
	value=$text$rest
}

# quoted TEXT prints it for a shell to read back.
quoted() {
	rest=$1 text=''
	while :; do
		case $rest in
		*\'*) ;;
		*) break ;;
		esac
		text=$text${rest%%\'*}"'\\''"
		rest=${rest#*\'}
	done
	printf "'%s'" "$text$rest"
}

# for_later_steps LINE adds a line to $BASH_ENV, once.
for_later_steps() {
	[ -n "${BASH_ENV-}" ] || return 0
	if [ -s "$BASH_ENV" ]; then
		if grep -qxF -e "$1" "$BASH_ENV"; then
			return 0
		fi
		# A last line without its end would swallow this one.
		if [ -n "$(tail -c 1 "$BASH_ENV")" ]; then
			printf '\n' >>"$BASH_ENV"
		fi
	fi
	printf '%s\n' "$1" >>"$BASH_ENV"
}

# in_bash says whether the steps of this job read $BASH_ENV by themselves.
in_bash() { [ -n "${BASH_VERSION-}" ]; }

# read_bash_env does for sh what bash has done already. A file that this shell
# cannot read would end it, so a child tries first.
read_bash_env() {
	if in_bash || [ ! -f "${BASH_ENV-}" ]; then
		return 0
	fi
	# shellcheck disable=SC1090
	if (. "$BASH_ENV") >/dev/null 2>&1; then
		. "$BASH_ENV" || true
	else
		say "\$BASH_ENV holds what this shell cannot read: its variables are not known here"
	fi
}

# find_broker sets broker to the program's path. In sh, a step has not heard of a
# directory that the install step chose.
find_broker() {
	if broker=$(command -v oidc-broker); then
		return 0
	fi
	for place in "${HOME-}/.local/bin" "${HOME-}/bin"; do
		if [ -x "$place/oidc-broker" ]; then
			broker=$place/oidc-broker
			return 0
		fi
	done
	return 1
}

need_broker() {
	find_broker || fail 'oidc-broker is not installed in this job' \
		'leave skip_broker_install out, or run the command install in a step before'
}

# give VARIABLE PARAMETER TEXT gives oidc-broker an option by its variable: the
# parameter's text, expanded. An empty one leaves what the job has set.
give() {
	expand "$2" "$3"
	hand_over "$1"
}

# give_named VARIABLE PARAMETER NAME DEFAULT gives what the variable holds that a
# parameter names. A name that somebody chose has to be set.
give_named() {
	look_up "$3"
	if [ -z "$value" ] && [ "$3" != "$4" ]; then
		fail "the parameter $2 names the variable $3, which is not set in this job" \
			'is it in a context that this job has, or set in an earlier step through $BASH_ENV?'
	fi
	hand_over "$1"
}

# hand_over VARIABLE exports value under that name. Which of our own names that
# was stands in given.
hand_over() {
	[ -n "$value" ] || return 0
	eval "$1=\$value"
	export "${1?}"
	case $1 in
	OIDC_BROKER_*) given="${given-} $1" ;;
	esac
}

# give_token takes the parameters about the job's token.
give_token() {
	give OIDC_BROKER_AUDIENCE audience "$ORB_STR_AUDIENCE"
	[ -n "$value" ] || give OIDC_BROKER_TOKEN_VERSION token_version "$ORB_STR_TOKEN_VERSION"
}

give_aws() {
	give AWS_ROLE_ARN role_arn "$ORB_STR_ROLE_ARN"
	give AWS_ROLE_SESSION_NAME role_session_name "$ORB_STR_ROLE_SESSION_NAME"
	give OIDC_BROKER_SESSION_DURATION session_duration "$ORB_STR_SESSION_DURATION"
	give AWS_REGION region "$ORB_STR_REGION"
	give OIDC_BROKER_CHAIN_ROLE_ARN chain_role_arn "$ORB_STR_CHAIN_ROLE_ARN"
	give OIDC_BROKER_EXTERNAL_ID external_id "$ORB_STR_EXTERNAL_ID"
	give OIDC_BROKER_ALLOWED_ACCOUNT_ID allowed_account_id "$ORB_STR_ALLOWED_ACCOUNT_ID"
}

give_gcp() {
	give_named GOOGLE_PROJECT_NUMBER google_project_number "$ORB_ENV_PROJECT_NUMBER" GOOGLE_PROJECT_NUMBER
	give_named GCP_WIP_ID workload_identity_pool_id "$ORB_ENV_POOL_ID" OIDC_WIP_ID
	give_named GCP_WIP_PROVIDER_ID workload_identity_pool_provider_id "$ORB_ENV_PROVIDER_ID" OIDC_WIP_PROVIDER_ID
	give_named GOOGLE_PROJECT_ID google_project_id "$ORB_ENV_PROJECT_ID" GOOGLE_PROJECT_ID
	if is_on "$ORB_BOOL_DIRECT"; then
		value=true
		hand_over OIDC_BROKER_DIRECT
		unset GCP_SERVICE_ACCOUNT_EMAIL OIDC_SERVICE_ACCOUNT_EMAIL GCP_OIDC_SERVICE_ACCOUNT
		return 0
	fi
	give_named GCP_SERVICE_ACCOUNT_EMAIL service_account_email "$ORB_ENV_SERVICE_ACCOUNT" OIDC_SERVICE_ACCOUNT_EMAIL
	# Without one the access is direct, which nobody should get by a typing error.
	[ -n "${GCP_SERVICE_ACCOUNT_EMAIL-}${GCP_OIDC_SERVICE_ACCOUNT-}" ] ||
		fail "no service account: the variable $ORB_ENV_SERVICE_ACCOUNT is not set in this job" \
			'for access without one, set direct to true'
}

give_vault() {
	give BAO_ADDR vault_addr "$ORB_STR_VAULT_ADDR"
	give BAO_ROLE vault_role "$ORB_STR_VAULT_ROLE"
	give BAO_AUTH_PATH auth_path "$ORB_STR_AUTH_PATH"
	give BAO_NAMESPACE namespace "$ORB_STR_NAMESPACE"
	give OIDC_BROKER_VAULT_KV_VERSION kv_version "$ORB_STR_KV_VERSION"
	give OIDC_BROKER_VAULT_SECRETS secrets "$ORB_STR_SECRETS"
}
