package wif

import (
	"errors"
	"regexp"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// Parse reads a provider, in one of these forms:
//
//   - what `gcloud iam workload-identity-pools providers describe --format=json` prints
//   - the attributes of Terraform's google_iam_workload_identity_pool_provider, or all
//     that `terraform show -json` prints, where one such provider is in it
//   - {"provider": ..., "iamPolicy": ...}: one of these beside a service account's policy
//
// An error is a fault.Usage with line and column.
func Parse(b []byte) (*Provider, error) {
	n, err := parseDocument(b, "a provider")
	if err != nil {
		return nil, err
	}
	p := &Provider{}
	if n.Get("provider") != nil && n.Get("provider").Kind == document.Object {
		for _, m := range n.Members {
			switch m.Name {
			case "provider":
				n = m.Value
			case "iamPolicy":
				if p.iam, err = readIAM(m.Value, "iamPolicy."); err != nil {
					return nil, err
				}
			default:
				return nil, unknown(m, "beside the provider there can be iamPolicy alone")
			}
		}
	}
	if n, err = resource(n); err != nil {
		return nil, err
	}
	if err := mistaken(n); err != nil {
		return nil, err
	}
	if err := p.read(n); err != nil {
		return nil, err
	}
	return p, p.compile()
}

// parseDocument reads an object whose members are there once.
func parseDocument(b []byte, what string) (*document.Node, error) {
	n, err := document.Parse(b)
	var e *fault.Error
	if errors.As(err, &e) && strings.Contains(e.Error(), "not JSON") {
		return nil, e.Hint("gcloud prints JSON with --format=json, Terraform with show -json")
	}
	if err != nil {
		return nil, err
	}
	if n.Kind == document.Array {
		return nil, fault.New(fault.Usage, "%s: a list where %s belongs", n.At(), what).
			Hint("gcloud's describe prints one, its list prints all")
	}
	if n.Kind != document.Object {
		return nil, fault.New(fault.Usage, "%s: %s where %s belongs", n.At(), n.Kind, what)
	}
	if d := n.Duplicate(); d != nil {
		return nil, fault.New(fault.Usage, "%s: %q is there twice", d.At(), d.Name)
	}
	return n, nil
}

func unknown(m document.Member, hint string) error {
	e := fault.New(fault.Usage, "%s: there is no %q here", m.At(), m.Name)
	if hint != "" {
		e = e.Hint("%s", hint)
	}
	return e
}

// resource finds the one provider in what Terraform prints.
func resource(n *document.Node) (*document.Node, error) {
	for _, name := range []string{"planned_values", "values"} {
		if whole := n.Get(name); whole != nil && whole.Kind == document.Object && whole.Get("root_module") != nil {
			found := terraformResources(whole.Get("root_module"), 0)
			if len(found) != 1 {
				return nil, fault.New(fault.Usage, "%s: %d resources of type google_iam_workload_identity_pool_provider, not one", n.At(), len(found)).
					Hint("give the attributes of one of them alone")
			}
			return found[0], nil
		}
	}
	if values := n.Get("values"); values != nil && values.Kind == document.Object && n.Get("type") != nil {
		if t := n.Get("type"); t.Text != terraformProvider {
			return nil, fault.New(fault.Usage, "%s: the resource is of type %q, not %s", t.At(), t.Text, terraformProvider)
		}
		return values, nil
	}
	return n, nil
}

const terraformProvider = "google_iam_workload_identity_pool_provider"

func terraformResources(module *document.Node, depth int) []*document.Node {
	var found []*document.Node
	if resources := module.Get("resources"); resources != nil {
		for _, r := range resources.Items {
			t, values, mode := r.Get("type"), r.Get("values"), r.Get("mode")
			managed := mode == nil || mode.Text != "data"
			if managed && t != nil && t.Text == terraformProvider && values != nil && values.Kind == document.Object {
				found = append(found, values)
			}
		}
	}
	if children := module.Get("child_modules"); children != nil && depth < document.MaxDepth {
		for _, c := range children.Items {
			found = append(found, terraformResources(c, depth+1)...)
		}
	}
	return found
}

// mistaken knows the other documents that lie about where a provider is used.
func mistaken(n *document.Node) error {
	name := n.Get("name")
	switch {
	case n.Get("bindings") != nil, n.Get("etag") != nil:
		return fault.New(fault.Usage, "%s: it is an IAM policy, not a provider", n.At()).
			Hint("gcloud iam workload-identity-pools providers describe prints the provider; the policy goes beside it")
	case n.Get("type") != nil && n.Get("type").Text == "external_account":
		return fault.New(fault.Usage, "%s: it is a credential configuration, not a provider", n.At()).
			Hint("gcloud iam workload-identity-pools providers describe prints the provider that its audience names")
	case name != nil && strings.Contains(name.Text, "/workloadIdentityPools/") && !strings.Contains(name.Text, "/providers/"):
		return fault.New(fault.Usage, "%s: it is a pool, not a provider", name.At()).
			Hint("gcloud iam workload-identity-pools providers describe prints a provider of it")
	case name != nil && strings.Contains(name.Text, "/workforcePools/"):
		return fault.New(fault.Usage, "%s: it is in a workforce pool, which is for people", name.At())
	}
	return nil
}

// read takes the members of either form.
func (p *Provider) read(n *document.Node) error {
	for _, m := range n.Members {
		if strings.Contains(m.Name, "_") || m.Name == "id" {
			p.terraform = true
		}
	}
	var poolID, providerID string
	for _, m := range n.Members {
		name, v := p.camel(m.Name), m.Value
		if v.Kind == document.Null {
			v = nil // Terraform writes what is not set
		}
		var err error
		switch name {
		case "displayName", "description", "expireTime", "actorProviders", "id", "project", "timeouts", "deletionPolicy":
			// what changes no verdict
		case "name":
			p.name, err = text(v, m.Name)
			p.namePlace = m.Position
		case "state":
			p.state, err = text(v, m.Name)
		case "disabled":
			p.disabled, err = boolMember(v, m.Name)
		case "attributeMapping":
			err = p.readMapping(v, m)
		case "attributeCondition":
			err = p.readCondition(v, m)
		case "oidc":
			err = p.readOIDC(v, m)
		case "workloadIdentityPoolId":
			poolID, err = text(v, m.Name)
		case "workloadIdentityPoolProviderId":
			providerID, err = text(v, m.Name)
		case "aws", "saml", "x509":
			if v != nil && !(v.Kind == document.Array && len(v.Items) == 0) {
				err = fault.New(fault.Usage, "%s: the provider takes %s credentials, not OpenID Connect tokens", m.At(), strings.ToUpper(name))
			}
		default:
			err = unknown(m, p.formHint(name))
		}
		if err != nil {
			return err
		}
	}
	if p.issuer == "" {
		return fault.New(fault.Usage, "%s: %s is missing", n.At(), p.word("oidc.issuerUri"))
	}
	if p.mappingPlace.Line == 0 {
		p.mappingPlace = n.Position
	}
	return p.readName(poolID, providerID)
}

// camel returns a member's name as gcloud writes it. gcloud's own names do not
// count in Terraform's form, nor the other way round.
func (p *Provider) camel(name string) string {
	if !p.terraform {
		for _, other := range []string{"id", "project", "timeouts"} {
			if name == other {
				return "?" + name
			}
		}
		return name
	}
	parts := strings.Split(name, "_")
	for i, part := range parts {
		if i > 0 && part != "" {
			parts[i] = strings.ToUpper(part[:1]) + part[1:]
		}
	}
	if camel := strings.Join(parts, ""); p.word(camel) == name {
		return camel
	}
	return "?" + name
}

func (p *Provider) formHint(name string) string {
	if strings.HasPrefix(name, "?") && p.terraform {
		return "with Terraform's attribute_mapping all names are Terraform's"
	}
	return ""
}

// readName takes the name apart. Terraform knows it only after it has applied;
// before, the ids tell the pool, but not the project's number.
func (p *Provider) readName(poolID, providerID string) error {
	if p.name == "" {
		p.pool, p.id = poolID, providerID
		return nil
	}
	part := regexp.MustCompile(providerName).FindStringSubmatch(p.name)
	if part == nil {
		return fault.New(fault.Usage, "%s: the name %q is not a provider's", p.namePlace.At(), p.name).
			Hint("it is like projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
	}
	if regexp.MustCompile(number).MatchString(part[1]) {
		p.number = part[1]
	}
	p.pool, p.id = part[2], part[3]
	return nil
}

func text(n *document.Node, name string) (string, error) {
	switch {
	case n == nil:
		return "", nil
	case n.Kind != document.Text:
		return "", fault.New(fault.Usage, "%s: %s is %s, not text", n.At(), name, n.Kind)
	}
	return n.Text, nil
}

func boolMember(n *document.Node, name string) (bool, error) {
	switch {
	case n == nil:
		return false, nil
	case n.Kind != document.Boolean:
		return false, fault.New(fault.Usage, "%s: %s is %s, not true or false", n.At(), name, n.Kind)
	}
	return n.Text == "true", nil
}

func (p *Provider) readOIDC(n *document.Node, m document.Member) error {
	if n != nil && n.Kind == document.Array && p.terraform && len(n.Items) <= 1 {
		if len(n.Items) == 0 {
			n = nil
		} else {
			n = n.Items[0]
		}
	}
	if n == nil {
		return nil
	}
	if n.Kind != document.Object {
		return fault.New(fault.Usage, "%s: %s is %s, not an object", n.At(), m.Name, n.Kind)
	}
	p.oidcPlace = m.Position
	for _, m := range n.Members {
		v := m.Value
		if v.Kind == document.Null {
			v = nil
		}
		var err error
		switch name := "oidc." + p.camel(m.Name); name {
		case "oidc.issuerUri":
			p.issuer, err = text(v, "oidc."+m.Name)
			p.issuerPlace = m.Value.Position
		case "oidc.allowedAudiences":
			err = p.readAudiences(v, "oidc."+m.Name)
		case "oidc.jwksJson":
			var keys string
			keys, err = text(v, "oidc."+m.Name)
			p.uploadedKey = keys != ""
		case "oidc.discoveryUri":
			_, err = text(v, "oidc."+m.Name)
		default:
			err = unknown(m, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) readAudiences(n *document.Node, name string) error {
	if n == nil {
		return nil
	}
	if n.Kind != document.Array {
		return fault.New(fault.Usage, "%s: %s is %s, not a list", n.At(), name, n.Kind)
	}
	for _, item := range n.Items {
		if item.Kind != document.Text {
			return fault.New(fault.Usage, "%s: an audience is %s, not text", item.At(), item.Kind)
		}
		p.audiences = append(p.audiences, item.Text)
	}
	return nil
}

func (p *Provider) readMapping(n *document.Node, m document.Member) error {
	p.mappingPlace = m.Position
	if n == nil {
		return nil
	}
	if n.Kind != document.Object {
		return fault.New(fault.Usage, "%s: %s is %s, not an object", n.At(), m.Name, n.Kind)
	}
	for _, entry := range n.Members {
		where := m.Name + `["` + entry.Name + `"]`
		expression, err := text(entry.Value, where)
		if err != nil {
			return err
		}
		if entry.Value.Kind != document.Text {
			return fault.New(fault.Usage, "%s: %s is %s, not text", entry.Value.At(), where, entry.Value.Kind)
		}
		custom := strings.HasPrefix(entry.Name, attributePrefix)
		switch {
		case custom, entry.Name == subject, entry.Name == groups:
		case strings.HasPrefix(entry.Name, assertion+".") || strings.HasPrefix(entry.Name, assertion+"["):
			e := fault.New(fault.Usage, "%s: the mapping's key %q is a claim: the key is what Google is to have", entry.At(), entry.Name)
			if strings.HasPrefix(expression, attributePrefix) || strings.HasPrefix(expression, googleNamespace+".") {
				e = e.Hint("it is written the other way round: %q: %q", expression, entry.Name)
			}
			return e
		default:
			return fault.New(fault.Usage, "%s: Google has no attribute %q", entry.At(), entry.Name).
				Hint("a key is google.subject, google.groups or attribute.NAME")
		}
		p.mapping = append(p.mapping, &mapping{key: entry.Name, keyPlace: entry.Position,
			celExpression: &celExpression{text: expression, where: where, Position: entry.Value.Position}})
	}
	return nil
}

func (p *Provider) readCondition(n *document.Node, m document.Member) error {
	condition, err := text(n, m.Name)
	if err == nil && condition != "" {
		p.condition = &celExpression{text: condition, where: m.Name, Position: n.Position}
	}
	return err
}

// compile makes programs of the expressions that read has found.
func (p *Provider) compile() error {
	mapping, err := newLanguage(assertion)
	if err != nil {
		return err
	}
	for _, m := range p.mapping {
		// Of what type it is, Google asks when there is a token.
		if m.celExpression, err = mapping.compile(m.text, m.where, m.Position); err != nil {
			return err
		}
	}
	if p.condition == nil {
		return nil
	}
	language, err := newLanguage(assertion, googleNamespace, attribute)
	if err != nil {
		return err
	}
	x, err := language.compile(p.condition.text, p.condition.where, p.condition.Position)
	if err != nil {
		return err
	}
	if t := x.kind.TypeName(); t != "bool" && t != "dyn" {
		return fault.New(fault.Usage, "%s: %s gives %s, not true or false", x.At(), x.where, typeWord(t)).
			Hint("a condition is like assertion['oidc.circleci.com/project-id'] == 'UUID'")
	}
	p.condition = x
	return language.split(x)
}

// typeWord names one of CEL's types.
func typeWord(t string) string {
	switch t {
	case "string":
		return "text"
	case "int", "uint", "double":
		return "a number"
	case "list":
		return "a list"
	case "map":
		return "a map"
	}
	return "a " + t
}
