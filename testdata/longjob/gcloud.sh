# gcloud, a new process each time.
set -eu
end=$(($(date +%s) + LONG_SECONDS)) asked=0
until [ "${now-0}" -ge "$end" ]; do
	now=$(date +%s)
	[ "$(gcloud projects describe 123456789012 --format='value(lifecycleState)')" = ACTIVE ]
	asked=$((asked + 1))
	sleep "$LONG_PAUSE"
done
echo "gcloud asked $asked times"
