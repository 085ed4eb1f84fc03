package policy

import (
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// An IAMPolicy says who may do what with a service account.
type IAMPolicy struct {
	bindings []gcpBinding
	prefix   string // of paths, where the policy is a part of another document
}

type gcpBinding struct {
	position
	role        string
	members     []gcpMember
	conditional bool
	condition   string // its title, or its expression
}

type gcpMember struct {
	position
	name string
}

// ParseIAMPolicy reads a service account's policy, as
// `gcloud iam service-accounts get-iam-policy --format=json` prints it. An error
// is a fault.Usage with line and column.
func ParseIAMPolicy(b []byte) (*IAMPolicy, error) {
	n, err := gcpDocument(b, "an IAM policy")
	if err != nil {
		return nil, err
	}
	return readIAM(n, "")
}

// Members returns who may impersonate the account for certain: the members of
// bindings without a condition whose role is known to allow it.
func (p *IAMPolicy) Members() []string {
	var all []string
	for _, b := range p.bindings {
		if b.conditional || impersonates(b.role) != yes {
			continue
		}
		for _, m := range b.members {
			all = append(all, m.name)
		}
	}
	return all
}

// Signers returns who may sign as the account for certain, which workloadIdentityUser
// does not allow.
func (p *IAMPolicy) Signers() []string {
	var all []string
	for _, b := range p.bindings {
		if b.conditional || b.role != gcpTokenCreatorRole {
			continue
		}
		for _, m := range b.members {
			all = append(all, m.name)
		}
	}
	return all
}

func readIAM(n *node, prefix string) (*IAMPolicy, error) {
	if n.kind != object {
		return nil, fault.New(fault.Usage, "%s: %s where an IAM policy belongs", n.at(), n.kind)
	}
	policy := &IAMPolicy{prefix: prefix}
	for _, m := range n.members {
		switch m.name {
		case "etag", "version", "auditConfigs":
			// what changes no verdict
		case "bindings":
			if m.value.kind != array {
				return nil, fault.New(fault.Usage, "%s: bindings is %s, not a list", m.value.at(), m.value.kind)
			}
			for _, item := range m.value.items {
				b, err := readBinding(item)
				if err != nil {
					return nil, err
				}
				policy.bindings = append(policy.bindings, b)
			}
		case "attributeMapping", "oidc", "attribute_mapping":
			return nil, fault.New(fault.Usage, "%s: it is a provider, not an IAM policy", n.at()).
				Hint("gcloud iam service-accounts get-iam-policy prints the policy")
		default:
			return nil, gcpUnknown(m, "an IAM policy has bindings, etag and version")
		}
	}
	return policy, nil
}

func readBinding(n *node) (gcpBinding, error) {
	b := gcpBinding{position: n.position}
	if n.kind != object {
		return b, fault.New(fault.Usage, "%s: a binding is %s, not an object", n.at(), n.kind)
	}
	for _, m := range n.members {
		var err error
		switch m.name {
		case "role":
			b.role, err = gcpText(m.value, "role")
		case "members":
			b.members, err = readMembers(m.value)
		case "condition":
			err = b.readCondition(m.value)
		default:
			err = gcpUnknown(m, "a binding has role, members and condition")
		}
		if err != nil {
			return b, err
		}
	}
	if b.role == "" {
		return b, fault.New(fault.Usage, "%s: the binding has no role", n.at())
	}
	return b, nil
}

func readMembers(n *node) ([]gcpMember, error) {
	if n.kind != array {
		return nil, fault.New(fault.Usage, "%s: members is %s, not a list", n.at(), n.kind)
	}
	var all []gcpMember
	for _, item := range n.items {
		if item.kind != text {
			return nil, fault.New(fault.Usage, "%s: a member is %s, not text", item.at(), item.kind)
		}
		all = append(all, gcpMember{item.position, item.text})
	}
	return all, nil
}

func (b *gcpBinding) readCondition(n *node) error {
	if n.kind == null {
		return nil
	}
	if n.kind != object {
		return fault.New(fault.Usage, "%s: condition is %s, not an object", n.at(), n.kind)
	}
	b.conditional = true
	for _, m := range n.members {
		v, err := gcpText(m.value, "condition."+m.name)
		switch {
		case err != nil:
			return err
		case m.name == "title", m.name == "expression" && b.condition == "":
			b.condition = v
		case m.name != "description" && m.name != "location" && m.name != "expression":
			return gcpUnknown(m, "a condition has title, description and expression")
		}
	}
	return nil
}

// impersonates says whether a role lets its members get access tokens of the
// account. Of a custom role, and of most of Google's, the document does not tell.
func impersonates(role string) truth {
	switch role {
	case gcpUserRole, gcpTokenCreatorRole:
		return yes
	case "roles/iam.serviceAccountUser", "roles/iam.serviceAccountViewer", "roles/iam.serviceAccountOpenIdTokenCreator",
		"roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin":
		return no
	}
	return unknown
}

// A gcpPrincipal is a member that stands for federated identities.
type gcpPrincipal struct {
	project, pool string
	rest          string // "subject/S", "group/G", "attribute.NAME/VALUE", "*"
}

// parsePrincipal takes a member apart. It is false for a member of another kind.
func parsePrincipal(member string) (gcpPrincipal, bool) {
	scheme, rest, _ := strings.Cut(member, ":")
	rest, ok := strings.CutPrefix(rest, gcpHost+"projects/")
	if !ok || scheme != "principal" && scheme != "principalSet" {
		return gcpPrincipal{}, false
	}
	project, rest, ok1 := strings.Cut(rest, gcpPoolPath)
	pool, rest, ok2 := strings.Cut(rest, "/")
	single := strings.HasPrefix(rest, "subject/")
	return gcpPrincipal{project, pool, rest}, ok1 && ok2 && single == (scheme == "principal")
}

// attribute returns the name and the value that an attribute's principal set has.
func (g gcpPrincipal) attribute() (name, value string, ok bool) {
	rest, ok := strings.CutPrefix(g.rest, gcpAttributePrefix)
	if !ok {
		return "", "", false
	}
	name, value, ok = strings.Cut(rest, "/")
	return name, value, ok
}

// principals returns the names of an identity, without the pool.
func gcpPrincipals(attributes map[string]any, mapping []*gcpMapping) []string {
	var all []string
	if s, ok := attributes[gcpSubject].(string); ok {
		all = append(all, "subject/"+s)
	}
	for _, m := range mapping {
		switch v := attributes[m.key].(type) {
		case string:
			if m.key != gcpSubject {
				all = append(all, m.key+"/"+v)
			}
		case []string:
			for _, group := range v {
				all = append(all, "group/"+group)
			}
		}
	}
	return append(all, "*")
}

// principalName is the whole name.
func principalName(pool, rest string) string {
	scheme := "principalSet:"
	if strings.HasPrefix(rest, "subject/") {
		scheme = "principal:"
	}
	return scheme + gcpHost + pool + "/" + rest
}
