package wif

import (
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// An IAMPolicy says who may do what with a service account.
type IAMPolicy struct {
	bindings []binding
	prefix   string // of paths, where the policy is a part of another document
}

type binding struct {
	document.Position
	role        string
	members     []member
	conditional bool
	condition   string // its title, or its expression
}

type member struct {
	document.Position
	name string
}

// ParseIAMPolicy reads a service account's policy, as
// `gcloud iam service-accounts get-iam-policy --format=json` prints it. An error
// is a fault.Usage with line and column.
func ParseIAMPolicy(b []byte) (*IAMPolicy, error) {
	n, err := parseDocument(b, "an IAM policy")
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
		if b.conditional || impersonates(b.role) != policy.Yes {
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
		if b.conditional || b.role != tokenCreatorRole {
			continue
		}
		for _, m := range b.members {
			all = append(all, m.name)
		}
	}
	return all
}

func readIAM(n *document.Node, prefix string) (*IAMPolicy, error) {
	if n.Kind != document.Object {
		return nil, fault.New(fault.Usage, "%s: %s where an IAM policy belongs", n.At(), n.Kind)
	}
	policy := &IAMPolicy{prefix: prefix}
	for _, m := range n.Members {
		switch m.Name {
		case "etag", "version", "auditConfigs":
			// what changes no verdict
		case "bindings":
			if m.Value.Kind != document.Array {
				return nil, fault.New(fault.Usage, "%s: bindings is %s, not a list", m.Value.At(), m.Value.Kind)
			}
			for _, item := range m.Value.Items {
				b, err := readBinding(item)
				if err != nil {
					return nil, err
				}
				policy.bindings = append(policy.bindings, b)
			}
		case "attributeMapping", "oidc", "attribute_mapping":
			return nil, fault.New(fault.Usage, "%s: it is a provider, not an IAM policy", n.At()).
				Hint("gcloud iam service-accounts get-iam-policy prints the policy")
		default:
			return nil, unknown(m, "an IAM policy has bindings, etag and version")
		}
	}
	return policy, nil
}

func readBinding(n *document.Node) (binding, error) {
	b := binding{Position: n.Position}
	if n.Kind != document.Object {
		return b, fault.New(fault.Usage, "%s: a binding is %s, not an object", n.At(), n.Kind)
	}
	for _, m := range n.Members {
		var err error
		switch m.Name {
		case "role":
			b.role, err = text(m.Value, "role")
		case "members":
			b.members, err = readMembers(m.Value)
		case "condition":
			err = b.readCondition(m.Value)
		default:
			err = unknown(m, "a binding has role, members and condition")
		}
		if err != nil {
			return b, err
		}
	}
	if b.role == "" {
		return b, fault.New(fault.Usage, "%s: the binding has no role", n.At())
	}
	return b, nil
}

func readMembers(n *document.Node) ([]member, error) {
	if n.Kind != document.Array {
		return nil, fault.New(fault.Usage, "%s: members is %s, not a list", n.At(), n.Kind)
	}
	var all []member
	for _, item := range n.Items {
		if item.Kind != document.Text {
			return nil, fault.New(fault.Usage, "%s: a member is %s, not text", item.At(), item.Kind)
		}
		all = append(all, member{item.Position, item.Text})
	}
	return all, nil
}

func (b *binding) readCondition(n *document.Node) error {
	if n.Kind == document.Null {
		return nil
	}
	if n.Kind != document.Object {
		return fault.New(fault.Usage, "%s: condition is %s, not an object", n.At(), n.Kind)
	}
	b.conditional = true
	for _, m := range n.Members {
		v, err := text(m.Value, "condition."+m.Name)
		switch {
		case err != nil:
			return err
		case m.Name == "title", m.Name == "expression" && b.condition == "":
			b.condition = v
		case m.Name != "description" && m.Name != "location" && m.Name != "expression":
			return unknown(m, "a condition has title, description and expression")
		}
	}
	return nil
}

// impersonates says whether a role lets its members get access tokens of the
// account. Of a custom role, and of most of Google's, the document does not tell.
func impersonates(role string) policy.Truth {
	switch role {
	case userRole, tokenCreatorRole:
		return policy.Yes
	case "roles/iam.serviceAccountUser", "roles/iam.serviceAccountViewer", "roles/iam.serviceAccountOpenIdTokenCreator",
		"roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin":
		return policy.No
	}
	return policy.Unknown
}

// A principal is a member that stands for federated identities.
type principal struct {
	project, pool string
	rest          string // "subject/S", "group/G", "attribute.NAME/VALUE", "*"
}

// parsePrincipal takes a member apart. It is false for a member of another kind.
func parsePrincipal(member string) (principal, bool) {
	scheme, rest, _ := strings.Cut(member, ":")
	rest, ok := strings.CutPrefix(rest, host+"projects/")
	if !ok || scheme != "principal" && scheme != "principalSet" {
		return principal{}, false
	}
	project, rest, ok1 := strings.Cut(rest, poolPath)
	pool, rest, ok2 := strings.Cut(rest, "/")
	single := strings.HasPrefix(rest, "subject/")
	return principal{project, pool, rest}, ok1 && ok2 && single == (scheme == "principal")
}

// attribute returns the name and the value that an attribute's principal set has.
func (g principal) attribute() (name, value string, ok bool) {
	rest, ok := strings.CutPrefix(g.rest, attributePrefix)
	if !ok {
		return "", "", false
	}
	name, value, ok = strings.Cut(rest, "/")
	return name, value, ok
}

// principals returns the names of an identity, without the pool.
func principals(attributes map[string]any, mapping []*mapping) []string {
	var all []string
	if s, ok := attributes[subject].(string); ok {
		all = append(all, "subject/"+s)
	}
	for _, m := range mapping {
		switch v := attributes[m.key].(type) {
		case string:
			if m.key != subject {
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
	return scheme + host + pool + "/" + rest
}
