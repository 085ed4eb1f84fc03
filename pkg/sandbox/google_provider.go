package sandbox

import (
	"encoding/json"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
)

// googleSubject is the attribute that every mapping has to give.
const googleSubject = "google.subject"

// maxGoogleSubject is the room that Google has for it, in bytes.
const maxGoogleSubject = 127

// A workloadProvider is a provider of a workload identity pool.
type workloadProvider struct {
	pool      string
	name      string // full, but for the host
	issuer    string
	audiences []string
	// judge is the provider's attribute mapping and condition. It is asked
	// about tokens alone that are known to be good.
	judge func(claims map[string]json.RawMessage) judgement
}

// A judgement is what a provider makes of a token's claims.
type judgement struct {
	attributes map[string]string // without google.subject: it cannot be obtained
	admitted   bool              // by the condition
	why        string            // it is not, for the log
	// refusal is the whole answer, where the judge knows it; then the rest does
	// not count.
	refusal error
}

// newProvider returns the provider that the user gave, else the default one.
func newProvider(c Config) *workloadProvider {
	if c.GCPProvider == nil {
		return defaultProvider(c.Token)
	}
	p := defaultProvider(c.Token)
	if pool, ok := c.GCPProvider.Pool(); ok {
		p.pool, p.name = pool, c.GCPProvider.Name()
	}
	p.issuer, p.audiences = c.GCPProvider.Issuer(), c.GCPProvider.Audiences()
	p.judge = func(claims map[string]json.RawMessage) judgement {
		c.explainGoogle(jwt{claims: claims}.plain())
		return documentJudge(c.GCPProvider.Judge(jwt{claims: claims}.plain()))
	}
	return p
}

func (c Config) explainGoogle(claims map[string]any) {
	if c.Explain == nil {
		return
	}
	if j := c.GCPProvider.Check(wif.Request{Claims: claims, Now: c.Now()}); j.Verdict != policy.Allow {
		c.Explain.of("the provider "+c.GCPProvider.Name(), j)
	}
}

// documentJudge puts a judgement into the service's own terms.
func documentJudge(j wif.Judgement) judgement {
	own := judgement{attributes: map[string]string{}, admitted: j.Admitted, why: j.Why}
	for name, v := range j.Attributes {
		switch v := v.(type) {
		case string:
			own.attributes[name] = v
		case []string: // google.groups
			for _, group := range v {
				own.attributes["group/"+group] = ""
			}
		}
	}
	if !j.Admitted {
		own.refusal = rejectedByCondition().because("%s", j.Why)
		if j.Text != "" {
			own.refusal = oauthRefusal(j.Code, "%s", j.Text).because("%s", j.Why)
		}
	}
	return own
}

func defaultProvider(own Variant) *workloadProvider {
	return &workloadProvider{
		pool:   defaultPool,
		name:   DefaultGCPProvider,
		issuer: ci.OrgIssuer(own.OrgID()),
		// Google's own default audiences count only where none are listed, so
		// that a provider for both has to list them too.
		audiences: []string{own.OrgID(), "https:" + googleAPIs + DefaultGCPProvider, googleAPIs + DefaultGCPProvider},
		judge:     func(claims map[string]json.RawMessage) judgement { return defaultJudge(own, claims) },
	}
}

// defaultJudge is the mapping and condition that every job of the sandbox's own
// project passes, unless somebody may be logged in to it or it builds somebody
// else's repository:
//
//	google.subject    = assertion.sub.split('/vcs-origin/')[0]
//	attribute.project = assertion['oidc.circleci.com/project-id']
//	attribute.org     = assertion['oidc.circleci.com/org-id']
//
// A V1 subject has all of the 127 bytes that there are, a V2 subject has more.
func defaultJudge(own Variant, claims map[string]json.RawMessage) judgement {
	j := judgement{attributes: map[string]string{}}
	for attribute, claim := range map[string]string{
		googleSubject:       "sub",
		"attribute.project": claimPrefix + "project-id",
		"attribute.org":     claimPrefix + "org-id",
	} {
		if value, ok := text(claims[claim]); ok {
			j.attributes[attribute] = value
		}
	}
	if sub, there := j.attributes[googleSubject]; there {
		j.attributes[googleSubject], _, _ = strings.Cut(sub, "/vcs-origin/")
	}
	var rerun *bool
	origin, ofRepository := text(claims[claimPrefix+"vcs-origin"])
	switch {
	case j.attributes["attribute.project"] != own.ProjectID():
		j.why = "the claim project-id is not the sandbox's project"
	case json.Unmarshal(claims[claimPrefix+"ssh-rerun"], &rerun) != nil || rerun == nil || *rerun:
		j.why = "the claim ssh-rerun is not false"
	case ofRepository && origin != own.OwnOrigin(), !ofRepository && claims[claimPrefix+"vcs-origin"] != nil:
		j.why = "the claim vcs-origin is not " + own.OwnOrigin()
	default:
		j.admitted = true
	}
	return j
}
