# Runs adc.py, or the program PY, with the Python and the library that gcloud has in its bundle,
# else with python3 and what is installed for it.
set -eu
bundle=$(dirname "$(dirname "$(readlink -f "$(command -v gcloud)")")")
python=$bundle/platform/bundledpythonunix/bin/python3
if [ -d "$bundle/lib/third_party/google/auth" ]; then
	export PYTHONPATH="$bundle/lib/third_party"
fi
if [ ! -x "$python" ]; then
	python=python3
fi
exec "$python" "${PY-$(dirname "$0")/adc.py}"
