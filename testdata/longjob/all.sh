# Runs clients side by side, each of which asks its cloud again and again for
# $LONG_SECONDS seconds and once more, and fails at the first answer that is none.
#   all.sh aws|google [PROFILE]
set -eu
here=$(dirname "$0")
case $1 in
aws) clients='aws.sh boto.py gosdk-long' ;;
google) clients='gcloud.sh pygoogle.py gogoogle-long' ;;
esac
[ "$1" != google ] || [ -z "${LONG_NODE-}" ] || clients="$clients node.js"
shift
pids=
for client in $clients; do
	case $client in
	*.sh) sh "$here/$client" "$@" & ;;
	boto.py) python3 "$here/$client" "$@" & ;;
	pygoogle.py) PY="$here/$client" sh "$here/../clients/adc-python.sh" & ;;
	*.js) node "$here/$client" & ;;
	*) "$client" "$@" & ;;
	esac
	pids="$pids $!"
done
failed=0
for pid in $pids; do
	wait "$pid" || failed=1
done
exit $failed
