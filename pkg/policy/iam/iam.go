package iam

import (
	"fmt"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	assume   = "sts:AssumeRoleWithWebIdentity"
	tag      = "sts:TagSession"
	identify = "sts:SetSourceIdentity"

	// longest is twice what AWS keeps of a trust policy when asked to keep
	// as much as it can. It bounds the work that a document can make.
	longest = 8192
)

// An Policy is the trust policy of a role.
type Policy struct {
	statements []statement
	// flaws are what AWS would not store, and what its readers disagree about.
	// With one of them nothing is judged: no role has such a policy.
	flaws []flaw
	// roleARN is known where the document is what get-role prints.
	roleARN string
}

// An flaw is something in the document that keeps it from being judged.
type flaw struct {
	id, where, text, remedy string
	document.Position
}

// An statement is one statement, in the terms of the document.
type statement struct {
	path       string // `Statement[0]`
	deny       bool
	anyone     bool // Principal is "*"
	anyAccount bool // Principal.AWS is "*"
	federated  []word
	accounts   []word // Principal.AWS but "*"
	services   int    // how many services of AWS's own
	actions    []word
	notAction  bool // actions are those that it is not for
	conditions []condition
	principal  document.Position
	action     document.Position
	document.Position
}

// An word is text with its place.
type word struct {
	text string
	document.Position
}

// An condition is a key of an operator, with the values it is compared to.
type condition struct {
	path     string // `Statement[0].Condition.StringLike["aws:SourceIp"]`
	operator operator
	key      string
	values   []value
	document.Position
}

// Parse reads a role's trust policy, alone or within what `aws iam get-role`
// prints. An error is a fault.Usage, with line and column where there is a
// place to name. What is wrong within a statement is no error: Check and Lint
// say it.
func Parse(b []byte) (*Policy, error) {
	root, err := document.Parse(b)
	if err != nil {
		return nil, err
	}
	if root.Kind != document.Object {
		return nil, fault.New(fault.Usage, "%s: a trust policy is an object, not %s", root.At(), root.Kind)
	}
	p := &Policy{}
	doc, err := p.document(root)
	if err != nil {
		return nil, err
	}
	statement := doc.Get("Statement")
	if statement == nil {
		return nil, fault.New(fault.Usage, "%s: the document has no Statement, so it is not a trust policy", doc.At()).
			Hint("`aws iam get-role --role-name NAME` prints a role's trust policy")
	}
	if statement.Kind != document.Object && statement.Kind != document.Array {
		return nil, fault.New(fault.Usage, "%s: Statement is %s, not an object or a list of them", statement.At(), statement.Kind)
	}
	if d := root.Duplicate(); d != nil {
		p.flaws = append(p.flaws, flaw{id: "A24", Position: d.Position,
			text:   fmt.Sprintf("%q is there twice in one object, and readers disagree about which of the two counts", d.Name),
			remedy: "keep one of the two, or join their values in one list"})
	}
	p.read(doc, statement)
	return p, nil
}

// document returns the trust policy within what get-role prints, or the whole.
func (p *Policy) document(root *document.Node) (*document.Node, error) {
	role := root.Get("Role")
	if role == nil || root.Get("Statement") != nil {
		return root, nil
	}
	if role.Kind != document.Object {
		return nil, fault.New(fault.Usage, "%s: Role is %s, not an object", role.At(), role.Kind)
	}
	doc := role.Get("AssumeRolePolicyDocument")
	switch {
	case doc == nil:
		return nil, fault.New(fault.Usage, "%s: Role has no AssumeRolePolicyDocument", role.At())
	case doc.Kind != document.Object:
		return nil, fault.New(fault.Usage, "%s: AssumeRolePolicyDocument is %s, not an object", doc.At(), doc.Kind).
			Hint("`aws iam get-role --role-name NAME --output json` prints it as an object")
	}
	if arn := role.Get("Arn"); arn != nil {
		if arn.Kind != document.Text {
			return nil, fault.New(fault.Usage, "%s: the role's Arn is %s, not text", arn.At(), arn.Kind)
		}
		p.roleARN = arn.Text
	}
	return doc, nil
}

func (p *Policy) read(doc, statement *document.Node) {
	if n := length(doc); n > longest {
		p.refuse("", doc.Position, "the policy has %d characters; AWS keeps 2048 of a trust policy, and 4096 on request", n)
		return
	}
	variables := false
	for _, m := range doc.Members {
		switch m.Name {
		case "Statement":
		case "Id":
			p.textOf("Id", m.Value)
		case "Version":
			version := p.textOf("Version", m.Value)
			variables = version == "2012-10-17"
			if !variables && version != "2008-10-17" && m.Value.Kind == document.Text {
				p.refuse("Version", m.Value.Position, "there is no version %q of the policy language, but 2012-10-17", version)
			}
		default:
			p.unknownMember("", m, "Version", "Id", "Statement")
		}
	}
	if len(statement.List()) == 0 {
		p.refuse("Statement", statement.Position, "Statement is empty")
	}
	for i, n := range statement.List() {
		path := "Statement"
		if statement.Kind == document.Array {
			path = fmt.Sprintf("Statement[%d]", i)
		}
		p.statement(path, n, variables)
	}
}

// refuse notes what AWS would not store.
func (p *Policy) refuse(where string, at document.Position, format string, args ...any) {
	p.flaws = append(p.flaws, flaw{id: "A25", where: where, Position: at,
		text: fmt.Sprintf(format, args...), remedy: "write it as the language of policies has it: AWS refuses to store this"})
}

func (p *Policy) unknownMember(path string, m document.Member, known ...string) {
	where := strings.TrimPrefix(path+"."+m.Name, ".")
	for _, name := range known {
		if strings.EqualFold(name, m.Name) {
			p.refuse(where, m.Position, "there is no member %q; it is written %q", m.Name, name)
			return
		}
	}
	p.refuse(where, m.Position, "there is no member %q in a trust policy", m.Name)
}

// textOf returns the text that has to be there.
func (p *Policy) textOf(where string, n *document.Node) string {
	if n.Kind != document.Text {
		p.refuse(where, n.Position, "%s is %s, not text", where, n.Kind)
		return ""
	}
	return n.Text
}

// words returns the texts of a list, or the one text.
func (p *Policy) words(where string, n *document.Node) []word {
	if n.Kind == document.Array && len(n.Items) == 0 {
		p.refuse(where, n.Position, "%s is an empty list", where)
	}
	var all []word
	for _, item := range n.List() {
		all = append(all, word{p.textOf(where, item), item.Position})
	}
	return all
}

func (p *Policy) statement(path string, n *document.Node, variables bool) {
	if n.Kind != document.Object {
		p.refuse(path, n.Position, "%s is %s, not an object", path, n.Kind)
		return
	}
	s := statement{path: path, Position: n.Position, principal: n.Position, action: n.Position}
	for _, m := range n.Members {
		where := path + "." + m.Name
		switch m.Name {
		case "Sid":
			p.textOf(where, m.Value)
		case "Effect":
			effect := p.textOf(where, m.Value)
			if s.deny = effect == "Deny"; !s.deny && effect != "Allow" && m.Value.Kind == document.Text {
				p.refuse(where, m.Value.Position, "Effect is %q, not Allow or Deny", effect)
			}
		case "Principal":
			s.principal = m.Value.Position
			p.principal(&s, where, m.Value)
		case "Action", "NotAction":
			s.action, s.notAction = m.Value.Position, m.Name == "NotAction"
			s.actions = p.words(where, m.Value)
		case "Condition":
			p.conditions(&s, where, m.Value, variables)
		case "NotPrincipal", "Resource", "NotResource":
			p.refuse(where, m.Position, "a trust policy has no %s", m.Name)
		default:
			p.unknownMember(path, m, "Sid", "Effect", "Principal", "Action", "NotAction", "Condition")
		}
	}
	for _, name := range []string{"Effect", "Principal"} {
		if n.Get(name) == nil {
			p.refuse(path, n.Position, "%s has no %s", path, name)
		}
	}
	if (n.Get("Action") == nil) == (n.Get("NotAction") == nil) {
		p.refuse(path, n.Position, "%s needs either Action or NotAction", path)
	}
	p.statements = append(p.statements, s)
}

func (p *Policy) principal(s *statement, where string, n *document.Node) {
	if n.Kind == document.Text && n.Text == "*" {
		s.anyone = true
		return
	}
	if n.Kind != document.Object {
		p.refuse(where, n.Position, "%s is %s, not an object or \"*\"", where, n.Kind)
		return
	}
	if len(n.Members) == 0 {
		p.refuse(where, n.Position, "%s is empty", where)
	}
	for _, m := range n.Members {
		switch m.Name {
		case "Federated":
			s.federated = p.words(where+".Federated", m.Value)
		case "AWS":
			for _, w := range p.words(where+".AWS", m.Value) {
				if w.text == "*" || strings.HasSuffix(w.text, "::*:root") {
					s.anyAccount = true
				} else {
					s.accounts = append(s.accounts, w)
				}
			}
		case "Service":
			s.services += len(p.words(where+"."+m.Name, m.Value))
		case "CanonicalUser":
			p.words(where+"."+m.Name, m.Value)
		default:
			p.unknownMember(where, m, "Federated", "AWS", "Service", "CanonicalUser")
		}
	}
}

func (p *Policy) conditions(s *statement, where string, n *document.Node, variables bool) {
	if n.Kind != document.Object {
		p.refuse(where, n.Position, "%s is %s, not an object", where, n.Kind)
		return
	}
	for _, m := range n.Members {
		path := where + "." + m.Name
		operator, ok := operatorOf(m.Name)
		switch {
		case !ok:
			p.refuse(path, m.Position, "unknown operator %q%s", m.Name, meant(m.Name))
		case m.Value.Kind != document.Object:
			p.refuse(path, m.Value.Position, "%s is %s, not an object", path, m.Value.Kind)
		case len(m.Value.Members) == 0:
			p.refuse(path, m.Value.Position, "%s has no key", path)
		default:
			p.keys(s, path, operator, m.Value, variables)
		}
	}
}

// keys reads what one operator compares.
func (p *Policy) keys(s *statement, path string, operator operator, n *document.Node, variables bool) {
	seen := map[string]bool{}
	for _, m := range n.Members {
		c := condition{path: fmt.Sprintf("%s[%q]", path, m.Name), operator: operator, key: m.Name, Position: m.Position}
		lower := strings.ToLower(m.Name)
		if seen[lower] {
			p.refuse(c.path, m.Position, "%q is there twice: the names of keys are compared without letter case", m.Name)
		}
		seen[lower] = true
		if strings.Index(m.Name, ":") < 1 {
			p.refuse(c.path, m.Position, "%q is no condition key: it has no prefix", m.Name)
		}
		if len(m.Value.List()) == 0 {
			p.refuse(c.path, m.Value.Position, "%q has an empty list of values", m.Name)
		}
		for _, item := range m.Value.List() {
			if item.Kind != document.Text && item.Kind != document.Number && item.Kind != document.Boolean {
				p.refuse(c.path, item.Position, "a value is %s, not text", item.Kind)
				continue
			}
			v, problem := valueOf(operator, item.Text, variables)
			if problem != "" {
				p.refuse(c.path, item.Position, "the value %q %s", clip(item.Text), problem)
			}
			v.Position = item.Position
			c.values = append(c.values, v)
		}
		s.conditions = append(s.conditions, c)
	}
}

// length counts as AWS does, which leaves white space out.
func length(n *document.Node) int {
	sum := len(n.Text) + 2
	for _, m := range n.Members {
		sum += len(m.Name) + 4 + length(m.Value)
	}
	for _, item := range n.Items {
		sum += 1 + length(item)
	}
	return sum
}
