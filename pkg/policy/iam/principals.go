package iam

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
			Message: `any AWS account in the world is meant by "*": it names no provider either`}
		if len(s.conditions) > 0 {
			f.Message += "; whom the statement's conditions keep out was not evaluated"
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
		f.Message = fmt.Sprintf("%q is no account and no ARN: AWS shows a principal like this when it was deleted; what it admits was not evaluated", clip(w.text))
	case len(own) == 0:
		f.Message = fmt.Sprintf("whether %s is the role's own account was not evaluated: the document does not name the role", account)
		f.Fix = "give what `aws iam get-role` prints, which has the role's ARN"
	default:
		f.Message = fmt.Sprintf("another account, %s, gets in: whoever it lets call sts:AssumeRole", account)
		if conditions {
			f.Message += "; whom the statement's conditions keep out was not evaluated"
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
		f.Message = fmt.Sprintf("whom %s admits was not evaluated: only %s is", clip(w.text), assume)
		l.report(f, w.Position)
		return
	}
	if l.stranger(s, a, &f) {
		l.report(f, w.Position)
		return
	}
	f.Message = fmt.Sprintf("whom %s admits was not evaluated: it is no issuer of CircleCI's tokens", a.name)
	l.report(f, w.Position)
}

// stranger asks the policy about tokens of an issuer that stand for anybody.
func (l *linter) stranger(s statement, a arnParts, f *policy.Finding) bool {
	index := slices.IndexFunc(l.p.statements, func(t statement) bool { return t.path == s.path })
	sc := &scene{linter: l, index: index, s: s, provider: a}
	aud := "sts.amazonaws.com"
	subs := []string{"stranger"}
	if strings.HasPrefix(a.name, "token.actions.githubusercontent.com") {
		subs = []string{"repo:stranger/app:ref:refs/heads/main", "repo:stranger/app:pull_request"}
	}
	for _, d := range s.conditions {
		kind, claim := keyOf(d.key, a.name)
		if kind != mapped || d.operator.negated || !d.operator.text() {
			continue
		}
		for _, v := range d.values {
			if text, ok := meet(open(v.tokens), anyToken(), 'x'); ok && claim == "aud" {
				aud = text
			}
		}
	}
	for _, sub := range subs {
		claims := policy.Claims{"iss": "https://" + a.name, "sub": sub, "aud": aud,
			"iat": json.Number(fmt.Sprint(l.now.Unix())), "exp": json.Number(fmt.Sprint(l.now.Unix() + 300))}
		in, ok := sc.admits(claims)
		if !ok || !in.sure {
			continue
		}
		f.Severity, f.Witness = policy.Critical, claims
		f.Message = fmt.Sprintf("anybody to whom %s gives a token gets in: no condition keeps out the subject %q", a.name, sub)
		return true
	}
	return false
}
