package aws

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A role is an IAM role's ARN, taken apart.
type role struct {
	arn       string
	partition string // "aws", "aws-cn", "aws-us-gov", ...
	account   string // 12 digits
	name      string // without the path
}

// Patterns are compiled where they are used, at most a few times a run: in a
// variable, every command would pay for all of them at its start. None counts to
// 64: that is compiled to 64 copies, which takes a millisecond.
const (
	roleARN   = `^arn:(aws[a-z-]*):iam::([0-9]{12}):role/((?:[\x21-\x7e]+/)?)([\w+=,.@-]+)$`
	policyARN = `^arn:(aws[a-z-]*):iam::(?:[0-9]{12}|aws):policy/[\x21-\x7e]+$`
	accountID = `^[0-9]{12}$`
	exponent  = `^[0-9.]+[eE]\+?[0-9]+$`
	region    = `^[a-z]{2,}(?:-[a-z]+)+-[0-9]+$`
	zone      = `^([a-z]{2,}(?:-[a-z]+)+-[0-9]+)[a-z]$`
)

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

func groups(pattern, s string) []string { return regexp.MustCompile(pattern).FindStringSubmatch(s) }

// parseRole reads a role ARN that an option or a variable gave, and says what is wrong with
// one that is none.
func parseRole(from any, arn string) (role, error) {
	if strings.Contains(arn, ",arn:") || strings.ContainsFunc(arn, unicode.IsSpace) && strings.Contains(arn, "arn:") {
		// A path may hold commas and colons, so that STS would take two for one.
		return role{}, fault.New(fault.Usage, "%s takes the ARN of one role, and %q holds more", from, arn).
			Hint("for a chain, give the first with %s and the others, in order, with %s", fault.Option("role-arn"), fault.Option("chain-role-arn"))
	}
	if m := groups(roleARN, arn); m != nil && len(m[4]) <= 64 && len(arn) <= 2048 {
		return role{arn: arn, partition: m[1], account: m[2], name: m[4]}, nil
	}
	e := fault.New(fault.Usage, "%s %q is not the ARN of a role", from, arn)
	p := strings.SplitN(arn, ":", 6)
	switch {
	case len(p) < 6 || p[0] != "arn":
		return role{}, e.Hint("a role's ARN is arn:aws:iam::ACCOUNT:role/NAME; a name alone does not say in which account")
	case p[2] == "sts":
		return role{}, e.Hint("this is a session's ARN; the role's is arn:%s:iam::%s:role/NAME", p[1], p[4])
	case p[2] != "iam" || p[3] != "":
		return role{}, e.Hint("a role's ARN is arn:aws:iam::ACCOUNT:role/NAME, with no region between the colons")
	case matches(exponent, p[4]):
		return role{}, e.Hint("YAML turned the account id into a number: put it in quotes")
	case !matches(accountID, p[4]):
		return role{}, e.Hint("the account id %q does not have 12 digits", p[4])
	case !strings.HasPrefix(p[5], "role/"):
		return role{}, e.Hint("%q is not a role: the last part begins with role/", p[5])
	}
	return role{}, e.Hint("a role's name has at most 64 characters of A-Z a-z 0-9 + = , . @ _ -")
}

// partitions are told apart by how their regions' names begin. A region that
// none claims is one of the partition aws.
var partitions = []struct{ prefix, partition string }{
	{"cn-", "aws-cn"},
	{"us-gov-", "aws-us-gov"},
	{"eusc-", "aws-eusc"},
	{"us-iso-", "aws-iso"},
	{"us-isob-", "aws-iso-b"},
	{"eu-isoe-", "aws-iso-e"},
	{"us-isof-", "aws-iso-f"},
	{"eu-isof-", "aws-iso-f"},
}

func partitionOf(region string) string {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}

// checkRegion refuses what is no region's name. A region that AWS adds
// tomorrow passes.
func checkRegion(name string) error {
	if name == "" || matches(region, name) || name == "aws-global" {
		return nil
	}
	e := fault.New(fault.Usage, "%q is not the name of a region", name).Option("region")
	if m := groups(zone, name); m != nil {
		return e.Hint("this is an availability zone; its region is %s", m[1])
	}
	return e.Hint("a region's name is like eu-central-1")
}

// checkPartition refuses a role that a region's STS cannot know.
func checkPartition(r role, region string) error {
	if region == "" {
		if r.partition != "aws" {
			return fault.New(fault.Usage, "the role %s is in the partition %s, and no region is given", r.arn, r.partition).Option("role-arn").
				Hint("give a region of that partition with %s or AWS_REGION: there is no default endpoint in it", fault.Option("region"))
		}
		return nil
	}
	if p := partitionOf(region); p != r.partition {
		return fault.New(fault.Usage, "the role %s is in the partition %s, the region %s is in %s", r.arn, r.partition, region, p).Option("role-arn").
			Hint("give a region of the role's partition with %s, or the role of this one", fault.Option("region"))
	}
	return nil
}
