package policy

import (
	"errors"
	"regexp"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// ParseGCP reads a provider, in one of these forms:
//
//   - what `gcloud iam workload-identity-pools providers describe --format=json` prints
//   - the attributes of Terraform's google_iam_workload_identity_pool_provider, or all
//     that `terraform show -json` prints, where one such provider is in it
//   - {"provider": ..., "iamPolicy": ...}: one of these beside a service account's policy
//
// An error is a fault.Usage with line and column.
func ParseGCP(b []byte) (*GCPProvider, error) {
	n, err := gcpDocument(b, "a provider")
	if err != nil {
		return nil, err
	}
	p := &GCPProvider{}
	if n.get("provider") != nil && n.get("provider").kind == object {
		for _, m := range n.members {
			switch m.name {
			case "provider":
				n = m.value
			case "iamPolicy":
				if p.iam, err = readIAM(m.value, "iamPolicy."); err != nil {
					return nil, err
				}
			default:
				return nil, gcpUnknown(m, "beside the provider there can be iamPolicy alone")
			}
		}
	}
	if n, err = gcpResource(n); err != nil {
		return nil, err
	}
	if err := gcpMistaken(n); err != nil {
		return nil, err
	}
	if err := p.read(n); err != nil {
		return nil, err
	}
	return p, p.compile()
}

// gcpDocument reads an object whose members are there once.
func gcpDocument(b []byte, what string) (*node, error) {
	n, err := parseDocument(b)
	var e *fault.Error
	if errors.As(err, &e) && strings.Contains(e.Error(), "not JSON") {
		return nil, e.Hint("gcloud prints JSON with --format=json, Terraform with show -json")
	}
	if err != nil {
		return nil, err
	}
	if n.kind == array {
		return nil, fault.New(fault.Usage, "%s: a list where %s belongs", n.at(), what).
			Hint("gcloud's describe prints one, its list prints all")
	}
	if n.kind != object {
		return nil, fault.New(fault.Usage, "%s: %s where %s belongs", n.at(), n.kind, what)
	}
	if d := n.duplicate(); d != nil {
		return nil, fault.New(fault.Usage, "%s: %q is there twice", d.at(), d.name)
	}
	return n, nil
}

func gcpUnknown(m member, hint string) error {
	e := fault.New(fault.Usage, "%s: there is no %q here", m.at(), m.name)
	if hint != "" {
		e = e.Hint("%s", hint)
	}
	return e
}

// gcpResource finds the one provider in what Terraform prints.
func gcpResource(n *node) (*node, error) {
	for _, name := range []string{"planned_values", "values"} {
		if whole := n.get(name); whole != nil && whole.kind == object && whole.get("root_module") != nil {
			found := terraformResources(whole.get("root_module"), 0)
			if len(found) != 1 {
				return nil, fault.New(fault.Usage, "%s: %d resources of type google_iam_workload_identity_pool_provider, not one", n.at(), len(found)).
					Hint("give the attributes of one of them alone")
			}
			return found[0], nil
		}
	}
	if values := n.get("values"); values != nil && values.kind == object && n.get("type") != nil {
		if t := n.get("type"); t.text != terraformProvider {
			return nil, fault.New(fault.Usage, "%s: the resource is of type %q, not %s", t.at(), t.text, terraformProvider)
		}
		return values, nil
	}
	return n, nil
}

const terraformProvider = "google_iam_workload_identity_pool_provider"

func terraformResources(module *node, depth int) []*node {
	var found []*node
	if resources := module.get("resources"); resources != nil {
		for _, r := range resources.items {
			t, values, mode := r.get("type"), r.get("values"), r.get("mode")
			managed := mode == nil || mode.text != "data"
			if managed && t != nil && t.text == terraformProvider && values != nil && values.kind == object {
				found = append(found, values)
			}
		}
	}
	if children := module.get("child_modules"); children != nil && depth < maxDepth {
		for _, c := range children.items {
			found = append(found, terraformResources(c, depth+1)...)
		}
	}
	return found
}

// gcpMistaken knows the other documents that lie about where a provider is used.
func gcpMistaken(n *node) error {
	name := n.get("name")
	switch {
	case n.get("bindings") != nil, n.get("etag") != nil:
		return fault.New(fault.Usage, "%s: it is an IAM policy, not a provider", n.at()).
			Hint("gcloud iam workload-identity-pools providers describe prints the provider; the policy goes beside it")
	case n.get("type") != nil && n.get("type").text == "external_account":
		return fault.New(fault.Usage, "%s: it is a credential configuration, not a provider", n.at()).
			Hint("gcloud iam workload-identity-pools providers describe prints the provider that its audience names")
	case name != nil && strings.Contains(name.text, "/workloadIdentityPools/") && !strings.Contains(name.text, "/providers/"):
		return fault.New(fault.Usage, "%s: it is a pool, not a provider", name.at()).
			Hint("gcloud iam workload-identity-pools providers describe prints a provider of it")
	case name != nil && strings.Contains(name.text, "/workforcePools/"):
		return fault.New(fault.Usage, "%s: it is in a workforce pool, which is for people", name.at())
	}
	return nil
}

// read takes the members of either form.
func (p *GCPProvider) read(n *node) error {
	for _, m := range n.members {
		if strings.Contains(m.name, "_") || m.name == "id" {
			p.terraform = true
		}
	}
	var poolID, providerID string
	for _, m := range n.members {
		name, v := p.camel(m.name), m.value
		if v.kind == null {
			v = nil // Terraform writes what is not set
		}
		var err error
		switch name {
		case "displayName", "description", "expireTime", "actorProviders", "id", "project", "timeouts", "deletionPolicy":
			// what changes no verdict
		case "name":
			p.name, err = gcpText(v, m.name)
			p.namePlace = m.position
		case "state":
			p.state, err = gcpText(v, m.name)
		case "disabled":
			p.disabled, err = gcpBool(v, m.name)
		case "attributeMapping":
			err = p.readMapping(v, m)
		case "attributeCondition":
			err = p.readCondition(v, m)
		case "oidc":
			err = p.readOIDC(v, m)
		case "workloadIdentityPoolId":
			poolID, err = gcpText(v, m.name)
		case "workloadIdentityPoolProviderId":
			providerID, err = gcpText(v, m.name)
		case "aws", "saml", "x509":
			if v != nil && !(v.kind == array && len(v.items) == 0) {
				err = fault.New(fault.Usage, "%s: the provider takes %s credentials, not OpenID Connect tokens", m.at(), strings.ToUpper(name))
			}
		default:
			err = gcpUnknown(m, p.formHint(name))
		}
		if err != nil {
			return err
		}
	}
	if p.issuer == "" {
		return fault.New(fault.Usage, "%s: %s is missing", n.at(), p.word("oidc.issuerUri"))
	}
	if p.mappingPlace.line == 0 {
		p.mappingPlace = n.position
	}
	return p.readName(poolID, providerID)
}

// camel returns a member's name as gcloud writes it. gcloud's own names do not
// count in Terraform's form, nor the other way round.
func (p *GCPProvider) camel(name string) string {
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

func (p *GCPProvider) formHint(name string) string {
	if strings.HasPrefix(name, "?") && p.terraform {
		return "with Terraform's attribute_mapping all names are Terraform's"
	}
	return ""
}

// readName takes the name apart. Terraform knows it only after it has applied;
// before, the ids tell the pool, but not the project's number.
func (p *GCPProvider) readName(poolID, providerID string) error {
	if p.name == "" {
		p.pool, p.id = poolID, providerID
		return nil
	}
	part := regexp.MustCompile(gcpProviderName).FindStringSubmatch(p.name)
	if part == nil {
		return fault.New(fault.Usage, "%s: the name %q is not a provider's", p.namePlace.at(), p.name).
			Hint("it is like projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
	}
	if regexp.MustCompile(gcpNumber).MatchString(part[1]) {
		p.number = part[1]
	}
	p.pool, p.id = part[2], part[3]
	return nil
}

func gcpText(n *node, name string) (string, error) {
	switch {
	case n == nil:
		return "", nil
	case n.kind != text:
		return "", fault.New(fault.Usage, "%s: %s is %s, not text", n.at(), name, n.kind)
	}
	return n.text, nil
}

func gcpBool(n *node, name string) (bool, error) {
	switch {
	case n == nil:
		return false, nil
	case n.kind != boolean:
		return false, fault.New(fault.Usage, "%s: %s is %s, not true or false", n.at(), name, n.kind)
	}
	return n.text == "true", nil
}

func (p *GCPProvider) readOIDC(n *node, m member) error {
	if n != nil && n.kind == array && p.terraform && len(n.items) <= 1 {
		if len(n.items) == 0 {
			n = nil
		} else {
			n = n.items[0]
		}
	}
	if n == nil {
		return nil
	}
	if n.kind != object {
		return fault.New(fault.Usage, "%s: %s is %s, not an object", n.at(), m.name, n.kind)
	}
	p.oidcPlace = m.position
	for _, m := range n.members {
		v := m.value
		if v.kind == null {
			v = nil
		}
		var err error
		switch name := "oidc." + p.camel(m.name); name {
		case "oidc.issuerUri":
			p.issuer, err = gcpText(v, "oidc."+m.name)
			p.issuerPlace = m.value.position
		case "oidc.allowedAudiences":
			err = p.readAudiences(v, "oidc."+m.name)
		case "oidc.jwksJson":
			var keys string
			keys, err = gcpText(v, "oidc."+m.name)
			p.uploadedKey = keys != ""
		case "oidc.discoveryUri":
			_, err = gcpText(v, "oidc."+m.name)
		default:
			err = gcpUnknown(m, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *GCPProvider) readAudiences(n *node, name string) error {
	if n == nil {
		return nil
	}
	if n.kind != array {
		return fault.New(fault.Usage, "%s: %s is %s, not a list", n.at(), name, n.kind)
	}
	for _, item := range n.items {
		if item.kind != text {
			return fault.New(fault.Usage, "%s: an audience is %s, not text", item.at(), item.kind)
		}
		p.audiences = append(p.audiences, item.text)
	}
	return nil
}

func (p *GCPProvider) readMapping(n *node, m member) error {
	p.mappingPlace = m.position
	if n == nil {
		return nil
	}
	if n.kind != object {
		return fault.New(fault.Usage, "%s: %s is %s, not an object", n.at(), m.name, n.kind)
	}
	for _, entry := range n.members {
		where := m.name + `["` + entry.name + `"]`
		expression, err := gcpText(entry.value, where)
		if err != nil {
			return err
		}
		if entry.value.kind != text {
			return fault.New(fault.Usage, "%s: %s is %s, not text", entry.value.at(), where, entry.value.kind)
		}
		custom := strings.HasPrefix(entry.name, gcpAttributePrefix)
		switch {
		case custom, entry.name == gcpSubject, entry.name == gcpGroups:
		case strings.HasPrefix(entry.name, gcpAssertion+".") || strings.HasPrefix(entry.name, gcpAssertion+"["):
			e := fault.New(fault.Usage, "%s: the mapping's key %q is a claim: the key is what Google is to have", entry.at(), entry.name)
			if strings.HasPrefix(expression, gcpAttributePrefix) || strings.HasPrefix(expression, gcpGoogle+".") {
				e = e.Hint("it is written the other way round: %q: %q", expression, entry.name)
			}
			return e
		default:
			return fault.New(fault.Usage, "%s: Google has no attribute %q", entry.at(), entry.name).
				Hint("a key is google.subject, google.groups or attribute.NAME")
		}
		p.mapping = append(p.mapping, &gcpMapping{key: entry.name, keyPlace: entry.position,
			gcpExpression: &gcpExpression{text: expression, where: where, position: entry.value.position}})
	}
	return nil
}

func (p *GCPProvider) readCondition(n *node, m member) error {
	condition, err := gcpText(n, m.name)
	if err == nil && condition != "" {
		p.condition = &gcpExpression{text: condition, where: m.name, position: n.position}
	}
	return err
}

// compile makes programs of the expressions that read has found.
func (p *GCPProvider) compile() error {
	mapping, err := newGCPLanguage(gcpAssertion)
	if err != nil {
		return err
	}
	for _, m := range p.mapping {
		// Of what type it is, Google asks when there is a token.
		if m.gcpExpression, err = mapping.compile(m.text, m.where, m.position); err != nil {
			return err
		}
	}
	if p.condition == nil {
		return nil
	}
	language, err := newGCPLanguage(gcpAssertion, gcpGoogle, gcpAttribute)
	if err != nil {
		return err
	}
	x, err := language.compile(p.condition.text, p.condition.where, p.condition.position)
	if err != nil {
		return err
	}
	if t := x.kind.TypeName(); t != "bool" && t != "dyn" {
		return fault.New(fault.Usage, "%s: %s gives %s, not true or false", x.at(), x.where, gcpTypeWord(t)).
			Hint("a condition is like assertion['oidc.circleci.com/project-id'] == 'UUID'")
	}
	p.condition = x
	return language.split(x)
}

// gcpTypeWord names one of CEL's types.
func gcpTypeWord(t string) string {
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
