# The AWS CLI, a new process each time.
set -eu
end=$(($(date +%s) + LONG_SECONDS)) asked=0
until [ "${now-0}" -ge "$end" ]; do
	now=$(date +%s)
	aws sts get-caller-identity ${1:+--profile "$1"} >/dev/null
	asked=$((asked + 1))
	sleep "$LONG_PAUSE"
done
echo "aws asked $asked times"
