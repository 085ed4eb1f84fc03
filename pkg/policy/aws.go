package policy

import (
	"fmt"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	awsAssume   = "sts:AssumeRoleWithWebIdentity"
	awsTag      = "sts:TagSession"
	awsIdentify = "sts:SetSourceIdentity"

	// awsLongest is twice what AWS keeps of a trust policy when asked to keep
	// as much as it can. It bounds the work that a document can make.
	awsLongest = 8192
)

// An AWSPolicy is the trust policy of a role.
type AWSPolicy struct {
	statements []awsStatement
	// flaws are what AWS would not store, and what its readers disagree about.
	// With one of them nothing is judged: no role has such a policy.
	flaws []awsFlaw
	// roleARN is known where the document is what get-role prints.
	roleARN string
}

// An awsFlaw is something in the document that keeps it from being judged.
type awsFlaw struct {
	id, where, text, remedy string
	position
}

// An awsStatement is one statement, in the terms of the document.
type awsStatement struct {
	path       string // `Statement[0]`
	deny       bool
	anyone     bool // Principal is "*"
	anyAccount bool // Principal.AWS is "*"
	federated  []awsWord
	actions    []awsWord
	notAction  bool // actions are those that it is not for
	conditions []awsCondition
	principal  position
	action     position
	position
}

// An awsWord is text with its place.
type awsWord struct {
	text string
	position
}

// An awsCondition is a key of an operator, with the values it is compared to.
type awsCondition struct {
	path     string // `Statement[0].Condition.StringLike["aws:SourceIp"]`
	operator awsOperator
	key      string
	values   []awsValue
	position
}

// ParseAWS reads a role's trust policy, alone or within what `aws iam get-role`
// prints. An error is a fault.Usage, with line and column where there is a
// place to name. What is wrong within a statement is no error: Check and Lint
// say it.
func ParseAWS(b []byte) (*AWSPolicy, error) {
	root, err := parseDocument(b)
	if err != nil {
		return nil, err
	}
	if root.kind != object {
		return nil, fault.New(fault.Usage, "%s: a trust policy is an object, not %s", root.at(), root.kind)
	}
	p := &AWSPolicy{}
	document, err := p.document(root)
	if err != nil {
		return nil, err
	}
	statement := document.get("Statement")
	if statement == nil {
		return nil, fault.New(fault.Usage, "%s: the document has no Statement, so it is not a trust policy", document.at()).
			Hint("`aws iam get-role --role-name NAME` prints a role's trust policy")
	}
	if statement.kind != object && statement.kind != array {
		return nil, fault.New(fault.Usage, "%s: Statement is %s, not an object or a list of them", statement.at(), statement.kind)
	}
	if d := root.duplicate(); d != nil {
		p.flaws = append(p.flaws, awsFlaw{id: "A24", position: d.position,
			text:   fmt.Sprintf("%q is there twice in one object, and readers disagree about which of the two counts", d.name),
			remedy: "keep one of the two, or join their values in one list"})
	}
	p.read(document, statement)
	return p, nil
}

// document returns the trust policy within what get-role prints, or the whole.
func (p *AWSPolicy) document(root *node) (*node, error) {
	role := root.get("Role")
	if role == nil || root.get("Statement") != nil {
		return root, nil
	}
	if role.kind != object {
		return nil, fault.New(fault.Usage, "%s: Role is %s, not an object", role.at(), role.kind)
	}
	document := role.get("AssumeRolePolicyDocument")
	switch {
	case document == nil:
		return nil, fault.New(fault.Usage, "%s: Role has no AssumeRolePolicyDocument", role.at())
	case document.kind != object:
		return nil, fault.New(fault.Usage, "%s: AssumeRolePolicyDocument is %s, not an object", document.at(), document.kind).
			Hint("`aws iam get-role --role-name NAME --output json` prints it as an object")
	}
	if arn := role.get("Arn"); arn != nil {
		if arn.kind != text {
			return nil, fault.New(fault.Usage, "%s: the role's Arn is %s, not text", arn.at(), arn.kind)
		}
		p.roleARN = arn.text
	}
	return document, nil
}

func (p *AWSPolicy) read(document, statement *node) {
	if n := awsLength(document); n > awsLongest {
		p.refuse("", document.position, "the policy has %d characters; AWS keeps 2048 of a trust policy, and 4096 on request", n)
		return
	}
	variables := false
	for _, m := range document.members {
		switch m.name {
		case "Statement":
		case "Id":
			p.textOf("Id", m.value)
		case "Version":
			version := p.textOf("Version", m.value)
			variables = version == "2012-10-17"
			if !variables && version != "2008-10-17" && m.value.kind == text {
				p.refuse("Version", m.value.position, "there is no version %q of the policy language, but 2012-10-17", version)
			}
		default:
			p.unknownMember("", m, "Version", "Id", "Statement")
		}
	}
	if len(statement.list()) == 0 {
		p.refuse("Statement", statement.position, "Statement is empty")
	}
	for i, n := range statement.list() {
		path := "Statement"
		if statement.kind == array {
			path = fmt.Sprintf("Statement[%d]", i)
		}
		p.statement(path, n, variables)
	}
}

// refuse notes what AWS would not store.
func (p *AWSPolicy) refuse(where string, at position, format string, args ...any) {
	p.flaws = append(p.flaws, awsFlaw{id: "A25", where: where, position: at,
		text: fmt.Sprintf(format, args...), remedy: "write it as the language of policies has it: AWS refuses to store this"})
}

func (p *AWSPolicy) unknownMember(path string, m member, known ...string) {
	where := strings.TrimPrefix(path+"."+m.name, ".")
	for _, name := range known {
		if strings.EqualFold(name, m.name) {
			p.refuse(where, m.position, "there is no member %q; it is written %q", m.name, name)
			return
		}
	}
	p.refuse(where, m.position, "there is no member %q in a trust policy", m.name)
}

// textOf returns the text that has to be there.
func (p *AWSPolicy) textOf(where string, n *node) string {
	if n.kind != text {
		p.refuse(where, n.position, "%s is %s, not text", where, n.kind)
		return ""
	}
	return n.text
}

// words returns the texts of a list, or the one text.
func (p *AWSPolicy) words(where string, n *node) []awsWord {
	if n.kind == array && len(n.items) == 0 {
		p.refuse(where, n.position, "%s is an empty list", where)
	}
	var all []awsWord
	for _, item := range n.list() {
		all = append(all, awsWord{p.textOf(where, item), item.position})
	}
	return all
}

func (p *AWSPolicy) statement(path string, n *node, variables bool) {
	if n.kind != object {
		p.refuse(path, n.position, "%s is %s, not an object", path, n.kind)
		return
	}
	s := awsStatement{path: path, position: n.position, principal: n.position, action: n.position}
	for _, m := range n.members {
		where := path + "." + m.name
		switch m.name {
		case "Sid":
			p.textOf(where, m.value)
		case "Effect":
			effect := p.textOf(where, m.value)
			if s.deny = effect == "Deny"; !s.deny && effect != "Allow" && m.value.kind == text {
				p.refuse(where, m.value.position, "Effect is %q, not Allow or Deny", effect)
			}
		case "Principal":
			s.principal = m.value.position
			p.principal(&s, where, m.value)
		case "Action", "NotAction":
			s.action, s.notAction = m.value.position, m.name == "NotAction"
			s.actions = p.words(where, m.value)
		case "Condition":
			p.conditions(&s, where, m.value, variables)
		case "NotPrincipal", "Resource", "NotResource":
			p.refuse(where, m.position, "a trust policy has no %s", m.name)
		default:
			p.unknownMember(path, m, "Sid", "Effect", "Principal", "Action", "NotAction", "Condition")
		}
	}
	for _, name := range []string{"Effect", "Principal"} {
		if n.get(name) == nil {
			p.refuse(path, n.position, "%s has no %s", path, name)
		}
	}
	if (n.get("Action") == nil) == (n.get("NotAction") == nil) {
		p.refuse(path, n.position, "%s needs either Action or NotAction", path)
	}
	p.statements = append(p.statements, s)
}

func (p *AWSPolicy) principal(s *awsStatement, where string, n *node) {
	if n.kind == text && n.text == "*" {
		s.anyone = true
		return
	}
	if n.kind != object {
		p.refuse(where, n.position, "%s is %s, not an object or \"*\"", where, n.kind)
		return
	}
	if len(n.members) == 0 {
		p.refuse(where, n.position, "%s is empty", where)
	}
	for _, m := range n.members {
		switch m.name {
		case "Federated":
			s.federated = p.words(where+".Federated", m.value)
		case "AWS":
			for _, w := range p.words(where+".AWS", m.value) {
				s.anyAccount = s.anyAccount || w.text == "*"
			}
		case "Service", "CanonicalUser":
			p.words(where+"."+m.name, m.value)
		default:
			p.unknownMember(where, m, "Federated", "AWS", "Service", "CanonicalUser")
		}
	}
}

func (p *AWSPolicy) conditions(s *awsStatement, where string, n *node, variables bool) {
	if n.kind != object {
		p.refuse(where, n.position, "%s is %s, not an object", where, n.kind)
		return
	}
	for _, m := range n.members {
		path := where + "." + m.name
		operator, ok := awsOperatorOf(m.name)
		switch {
		case !ok:
			p.refuse(path, m.position, "unknown operator %q%s", m.name, awsMeant(m.name))
		case m.value.kind != object:
			p.refuse(path, m.value.position, "%s is %s, not an object", path, m.value.kind)
		case len(m.value.members) == 0:
			p.refuse(path, m.value.position, "%s has no key", path)
		default:
			p.keys(s, path, operator, m.value, variables)
		}
	}
}

// keys reads what one operator compares.
func (p *AWSPolicy) keys(s *awsStatement, path string, operator awsOperator, n *node, variables bool) {
	seen := map[string]bool{}
	for _, m := range n.members {
		c := awsCondition{path: fmt.Sprintf("%s[%q]", path, m.name), operator: operator, key: m.name, position: m.position}
		lower := strings.ToLower(m.name)
		if seen[lower] {
			p.refuse(c.path, m.position, "%q is there twice: the names of keys are compared without letter case", m.name)
		}
		seen[lower] = true
		if strings.Index(m.name, ":") < 1 {
			p.refuse(c.path, m.position, "%q is no condition key: it has no prefix", m.name)
		}
		if len(m.value.list()) == 0 {
			p.refuse(c.path, m.value.position, "%q has an empty list of values", m.name)
		}
		for _, item := range m.value.list() {
			if item.kind != text && item.kind != number && item.kind != boolean {
				p.refuse(c.path, item.position, "a value is %s, not text", item.kind)
				continue
			}
			v, problem := awsValueOf(operator, item.text, variables)
			if problem != "" {
				p.refuse(c.path, item.position, "the value %q %s", awsClip(item.text), problem)
			}
			v.position = item.position
			c.values = append(c.values, v)
		}
		s.conditions = append(s.conditions, c)
	}
}

// awsLength counts as AWS does, which leaves white space out.
func awsLength(n *node) int {
	sum := len(n.text) + 2
	for _, m := range n.members {
		sum += len(m.name) + 4 + awsLength(m.value)
	}
	for _, item := range n.items {
		sum += 1 + awsLength(item)
	}
	return sum
}
