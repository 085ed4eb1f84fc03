package sandbox

import (
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
)

// maxSession is what a role allows unless its owner raised it.
const maxSession = time.Hour

// The parts: partition, account, path, name.
var roleARN = lazy(`^arn:(aws(?:-[a-z]+)*):iam::([0-9]{12}):role/((?:[\x21-\x2e\x30-\x7e]+/)*)([\w+=,.@-]{1,64})$`)

// A role is one that exists in the sandbox.
type role struct {
	arn, partition, account, name string
	id                            string // AROA..., stable while the sandbox runs
	externalID                    string
	noTags                        bool // its trust policy lacks sts:TagSession
	trust                         trust
}

// A trust is a role's trust policy: it judges who is admitted, once signature,
// times and audience of the token are known to be good. A refusal comes with
// the reason, for the log.
type trust func(identity) (admitted bool, why string)

// documentTrust judges by a trust policy that the user gave.
func documentTrust(p *iam.Policy, arn string, now func() time.Time, explain explainer) trust {
	return func(id identity) (bool, string) {
		j := p.Check(iam.Request{Claims: id.claims, RoleARN: arn, RoleSessionName: id.session, Now: now()})
		if j.Verdict != policy.Allow {
			explain.of("the trust policy of "+arn, j)
		}
		return j.Verdict == policy.Allow, string(j.Verdict) + ": " + j.Reason
	}
}

func newRoles(arns []string, externalIDs map[string]string, own Variant) (map[string]*role, error) {
	if len(arns) == 0 {
		arns = []string{DefaultRole}
	}
	roles := map[string]*role{}
	for _, arn := range arns {
		p := roleARN().FindStringSubmatch(arn)
		if p == nil {
			return nil, fault.New(fault.Usage, "%q is not the ARN of a role", arn).
				Hint("write it as %s", DefaultRole)
		}
		roles[arn] = &role{
			arn: arn, partition: p[1], account: p[2], name: p[4],
			id:         "AROA" + base32ID(17),
			externalID: externalIDs[arn],
			trust:      defaultTrust(own),
		}
	}
	for arn := range externalIDs {
		if roles[arn] == nil {
			return nil, fault.New(fault.Usage, "there is an external id for %q, but no such role", arn)
		}
	}
	return roles, nil
}

// defaultTrust admits every job of the sandbox's own project, as a policy does
// that names the project in the subject. Where the subject names a repository
// too, it has to be the project's own. A V1 subject of a fork is admitted: it
// is the same as the project's own, here as at AWS.
func defaultTrust(own Variant) trust {
	return func(id identity) (admitted bool, why string) {
		if id.tagged {
			return false, "the token carries session tags or a source identity, which the trust policy does not allow"
		}
		rest, ours := strings.CutPrefix(id.subject, "org/"+own.OrgID()+"/project/"+own.ProjectID()+"/")
		if !ours {
			return false, "the subject is not of the sandbox's project"
		}
		// The first one is CircleCI's: whatever follows it, a branch can be named.
		if _, vcs, named := strings.Cut(rest, "/vcs-origin/"); named && !strings.HasPrefix(vcs, own.OwnOrigin()+"/vcs-ref/") {
			return false, "the subject's vcs-origin is not " + own.OwnOrigin()
		}
		return true, ""
	}
}
