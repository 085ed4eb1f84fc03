# Has each real client ask AWS STS who one is: with the profile that the
# argument names, else with what the environment holds.
set -eu
if [ $# -gt 0 ]; then
	unset AWS_REGION AWS_DEFAULT_REGION # they would win over the profile's
fi
arn=$(aws sts get-caller-identity --query Arn --output text ${1:+--profile "$1"})
echo "aws $arn"
python3 "$(dirname "$0")/ask.py" "$@"
gosdk "$@"
