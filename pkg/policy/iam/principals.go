package iam

import (
	"regexp"

	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// The actions by which a principal gets a role's credentials.
var assuming = []string{assume, "sts:AssumeRole", "sts:AssumeRoleWithSAML"}

// others reports whom a statement admits beside the jobs of CircleCI's providers
// (A26, A27): each principal is judged, or the finding says that it was not.
func (l *linter) others(s statement) {
	if s.deny || !slices.ContainsFunc(assuming, s.covers) {
		return
	}
	where := s.path + ".Principal"
	if s.anyone || s.anyAccount {
		f := policy.Finding{ID: "A26", Severity: policy.Critical, Where: where, Fix: principalFix(placeholderARN),
			Message: `any AWS account in the world can assume the role by "*"`}
		if len(s.conditions) > 0 {
			f.Message += "; the statement's conditions were not evaluated"
		}
		l.report(f, s.principal)
	}
	own := l.p.ownAccounts()
	for _, w := range s.accounts {
		l.account(w, own, where+".AWS", len(s.conditions) > 0)
	}
	for _, w := range s.federated {
		if a, ok := providerARN(w.text); ok {
			if _, ours := circleCI(strings.ToLower(a.name)); ours || strings.HasPrefix(a.name, "https://") {
				continue // judge and principals look at it
			}
		}
		l.issuer(s, w)
	}
}

func principalFix(arn string) string {
	return quoteJSON(map[string]any{"Principal": map[string]any{"Federated": arn}})
}

// ownAccounts are those that the role can be in: its own, where the document says
// which, or else those of the providers that it names.
func (p *Policy) ownAccounts() []string {
	if role, ok := roleARN(p.roleARN); ok {
		return []string{role.account}
	}
	var all []string
	for _, s := range p.statements {
		for _, w := range s.federated {
			if a, ok := providerARN(w.text); ok && a.whole() {
				all = append(all, a.account)
			}
		}
	}
	return all
}

// account judges a principal of the kind AWS: another account's is a finding.
func (l *linter) account(w word, own []string, where string, conditions bool) {
	account := w.text
	if p := strings.SplitN(w.text, ":", 6); len(p) == 6 && p[0] == "arn" {
		account = p[4]
	}
	f := policy.Finding{ID: "A26", Severity: policy.High, Where: where, Fix: "remove the principal, or name one of the role's own account"}
	digits := len(account) == 12 && strings.Trim(account, "0123456789") == ""
	switch {
	case digits && slices.Contains(own, account):
		return
	case !digits:
		f.Message = fmt.Sprintf("%q is no account and no ARN: AWS shows a principal like this when it was deleted; it was not evaluated", clip(w.text))
	case len(own) == 0:
		f.Message = fmt.Sprintf("whether %s is the role's own account was not evaluated: the document does not name the role", account)
		f.Fix = "give what `aws iam get-role` prints, which has the role's ARN"
	default:
		f.Message = fmt.Sprintf("another account, %s, can assume the role: each of its principals that may call sts:AssumeRole", account)
		if conditions {
			f.Message += "; the statement's conditions were not evaluated"
		}
	}
	l.report(f, w.Position)
}

// issuer judges a federated principal that is no provider of CircleCI's, by tokens
// that the issuer may sign for a stranger.
func (l *linter) issuer(s statement, w word) {
	f := policy.Finding{ID: "A27", Severity: policy.High, Where: s.path + ".Principal.Federated", Fix: "remove the statement, or see to it that its conditions name whom it is for"}
	a, ok := providerARN(w.text)
	if !ok {
		a.name = w.text
	}
	switch {
	case wild(w.text):
		f.Severity = policy.Critical
		f.Message = fmt.Sprintf("%q names no provider: every provider of the account may be meant", clip(w.text))
		l.report(f, w.Position)
		return
	case !s.covers(assume):
		f.Message = fmt.Sprintf("the principals that %s admits were not evaluated: only %s is", clip(w.text), assume)
		l.report(f, w.Position)
		return
	}
	system := ci.Issuing("https://" + a.name)
	known := system != nil
	if !known {
		system = &ci.System{Title: a.name, Samples: []ci.Sample{{}}}
	}
	in, ok := l.stranger(s, a, system)
	switch {
	case !ok && known:
		return // evaluated: no stranger is admitted
	case !ok:
		f.Message = fmt.Sprintf("the tokens that %s admits were not evaluated: it is the issuer of no CI system that this program knows", clip(w.text))
	case in.sure:
		f.Severity, f.Witness = policy.Critical, in.claims
		f.Message = fmt.Sprintf("a job of another project or organisation at %s can assume the role: no condition keeps out the subject %q", system.Title, in.sub())
	default:
		f.Message = fmt.Sprintf("a job of another project or organisation at %s may be admitted: whether %s keeps out the subject %q was not evaluated", system.Title, in.unless, in.sub())
	}
	l.report(f, w.Position)
}

// stranger asks the policy about tokens of a CI system that stand for other projects.
func (l *linter) stranger(s statement, a arnParts, system *ci.System) (intruder, bool) {
	index := slices.IndexFunc(l.p.statements, func(t statement) bool { return t.path == s.path })
	sc := &scene{linter: l, index: index, s: s, provider: a}
	aud := "sts.amazonaws.com"
	var subjects []string
	for _, sample := range system.Samples {
		subjects = append(subjects, system.Subject.Other(fmt.Sprint(sample.Claims["sub"]), "stranger"))
	}
	for _, d := range s.conditions {
		kind, claim := keyOf(d.key, a.name)
		if kind != mapped || d.operator.negated || !d.operator.text() {
			continue
		}
		for _, v := range d.values {
			switch claim {
			case "aud":
				if text, ok := meet(open(v.tokens), anyToken(), 'x'); ok {
					aud = text
				}
			case "sub":
				subjects = append(subjects, lookalikes(v, system.Subject)...)
			}
		}
	}
	var tokens []policy.Claims
	for i, sub := range subjects {
		c := policy.Claims{}
		for name, value := range system.Samples[i%len(system.Samples)].Claims {
			c[name] = otherThan(value)
		}
		c["iss"], c["sub"], c["aud"] = "https://"+a.name, sub, aud
		c["iat"], c["exp"] = json.Number(fmt.Sprint(l.now.Unix())), json.Number(fmt.Sprint(l.now.Unix()+300))
		tokens = append(tokens, c)
	}
	return sc.first(tokens, nil)
}

// lookalikes are subjects that fit a pattern, of an owner whose name only begins as the
// pattern does: anyone can register one.
func lookalikes(v value, forms ci.Grammar) (all []string) {
	for _, form := range forms {
		pattern := regexp.MustCompile(`\{[a-z_]+\}`).ReplaceAllString(form, "?*")
		pattern = strings.Replace(pattern, "?*", "?*-evil", 1)
		want, _ := tokens(pattern, true, false)
		sub, ok := meet(open(v.tokens), want, 'x')
		if parts := forms.Parse(sub); ok && len(parts) > 0 && strings.HasSuffix(parts[0].Value, "-evil") && !strings.ContainsAny(parts[0].Value, ":/") {
			all = append(all, sub)
		}
	}
	return all
}

// otherThan returns a claim's value as the token of another project has it.
func otherThan(value any) any {
	if text, ok := value.(string); ok {
		if strings.Trim(text, "0123456789") == "" {
			return "9" + text
		}
		return "stranger-" + text
	}
	return value
}
