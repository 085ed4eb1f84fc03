package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// soon is what is left of a token, or of credentials, that are about to end: a
// step may take longer.
const soon = 5 * time.Minute

// jobToken is the token that the commands would begin with.
type jobToken struct {
	oidc.Token
	found   bool
	err     error // of a token that is there and no good
	minters []minter
}

// minter is a program on PATH that has the name of one that mints.
type minter struct {
	name, path string
	local      bool // the command line tool for people
}

func (v *view) lookForToken() jobToken {
	var j jobToken
	j.Token, j.found, j.err = v.Finder.Look(v.ctx)
	for _, name := range ci.Minters() {
		if path, err := v.lookPath(name); err == nil {
			j.minters = append(j.minters, minter{name, path, v.localCLI(path)})
		}
	}
	return j
}

// canMint says whether a program is there that may mint.
func (j jobToken) canMint() bool {
	return slices.ContainsFunc(j.minters, func(m minter) bool { return !m.local })
}

// replaced says whether a token that has ended would be replaced by a minted one:
// one that was named is not.
func (v *view) replaced() bool {
	return v.Finder.Env == "" && v.Finder.File == "" && v.job().canMint()
}

func tokenChecks() []check {
	return []check{
		{"token-missing", "there is a token, or a program that mints one", tokenMissing},
		{"token-malformed", "the token is a JSON Web Token with what every exchange needs", tokenMalformed},
		{"token-expired", "the token has not expired", tokenExpired},
		{"token-expiring", "the token is valid for a while", tokenExpiring},
		{"token-guards", "the token has what the guards demand", tokenGuards},
		{"token-minter", "what mints on this job's PATH is CircleCI's", tokenMinter},
		{"token-variables", "the job's variables hold what their names say", tokenVariables},
		{"token-audience", "the token's audience is a usual one", tokenAudience},
		{"token-issuer", "the issuer is the organisation's own", tokenIssuer},
		{"token-project", "the token is of this project", tokenProject},
		{"token-ssh-rerun", "nobody reran this job with SSH", tokenSSHRerun},
		{"token-fork", "this builds the project's own code", tokenFork},
		{"token-webhook", "the token names the repository", tokenWebhook},
	}
}

func tokenMissing(v *view) []Finding {
	j := v.job()
	switch {
	case j.found, j.err != nil:
		return nil
	case v.elsewhere() != nil:
		return missingElsewhere(v, v.elsewhere())
	case v.Finder.Audience != "" && j.canMint():
		return []Finding{passes("a token would be minted for the audience asked for; doctor mints none")}
	case v.Finder.Audience != "":
		return []Finding{fails("--audience has a token minted, and no program on PATH mints").
			because("neither circleci nor circleci-agent is there, or circleci is the local command line tool").
			remedy("run it in a CircleCI job, or give the token with --token-env or --token-file")}
	}
	err := v.Finder.Missing(j.canMint())
	if err == nil {
		return []Finding{warns("neither %s nor %s is set; each command mints a token of its own", ci.EnvV1, ci.EnvV2).
			because("tools that read the variables by themselves, as scripts and orbs do, find none").
			remedy("inside docker run, sudo or ssh, pass the variables on; else have commands mint with --audience")}
	}
	return []Finding{failed(err)}
}

// elsewhere is the CI system of the job where it has no variables like those that the
// checks below read; nil otherwise.
func (v *view) elsewhere() *ci.System {
	if s, _ := v.Finder.System(); s != nil && !strings.HasPrefix(s.Key, ci.ClaimPrefix) {
		return s
	}
	return nil
}

// missingElsewhere says what the job of another CI system needs.
func missingElsewhere(v *view, s *ci.System) []Finding {
	if err := v.Finder.Missing(false); err != nil {
		return []Finding{failed(err)}
	}
	if s.Mints {
		return []Finding{passes("each command gets a token of its own from %s; doctor gets none", s.Title)}
	}
	return []Finding{notes("no token of %s was found by the variables alone", s.Title).
		because("the commands look further, at a file or at the machine's metadata server").
		remedy("'oidc-broker token' shows what they find")}
}

func tokenMalformed(v *view) []Finding {
	j := v.job()
	if j.err != nil {
		return []Finding{failed(j.err).orRemedy("name a file that is there and that this user can read")}
	}
	if j.found {
		if err := ci.CheckAlgorithm(j.Token); err != nil {
			return []Finding{failed(err)}
		}
	}
	return nil
}

func tokenExpired(v *view) []Finding {
	j := v.job()
	if !j.found || !j.Expired(v.Now) {
		return nil
	}
	f := failed(v.Finder.Expiration(j.Token))
	if !v.replaced() {
		return []Finding{f.because("nothing can mint another one here, so that every exchange fails")}
	}
	f.Severity = Warning
	return []Finding{f.because("oidc-broker mints another one, but what reads the variable by itself sends one that no cloud takes").
		remedy("exchange the token in an early step; Google's files: oidc-broker gcp login --source executable")}
}

func tokenExpiring(v *view) []Finding {
	j := v.job()
	if !j.found || j.Expired(v.Now) {
		return nil
	}
	left := j.Expiry.Sub(v.Now).Round(time.Second)
	if left >= soon {
		return []Finding{passes("the token in %s is valid for another %s", j.Source, left)}
	}
	f := warns("the token in %s ends in %s, at %s", j.Source, max(left, 0), j.Expiry.Format(time.RFC3339))
	f = f.remedy("exchange it in an early step: what AWS and Vault give for it lives longer than it does; for Google use --source executable")
	if v.replaced() {
		f.Severity = Note
		return []Finding{f.because("oidc-broker mints another one in the last minute; what reads the variable by itself does not")}
	}
	return []Finding{f.because("nothing can mint another one here")}
}

func tokenGuards(v *view) []Finding {
	j := v.job()
	if !j.found || j.Expired(v.Now) {
		return nil
	}
	err := v.Finder.Guards.Unmet(j.Token, v.Now)
	if err == nil {
		return nil
	}
	f := failed(err)
	if fault.KindOf(err) == fault.Token && v.replaced() {
		f.Severity = Note
		return []Finding{f.because("another one is minted")}
	}
	return []Finding{f.because("every command that is given the same guards refuses this token").orRemedy("run this in a job that has it, or demand something else")}
}

func tokenMinter(v *view) []Finding {
	j := v.job()
	if !v.inJob() {
		return nil
	}
	if len(j.minters) == 0 {
		return []Finding{notes("neither circleci nor circleci-agent is on PATH").
			because("a token that has ended cannot be replaced").
			remedy("exchange the token early; inside docker run, do it outside of the container")}
	}
	var all []Finding
	for i, m := range j.minters {
		if !m.local {
			return append(all, passes("%s mints, at %s", m.name, v.place(m.path)))
		}
		f := warns("%s on PATH is CircleCI's local command line tool, at %s", m.name, v.place(m.path)).
			because("it hides the program of that name that CircleCI gives to jobs, and cannot mint a token").
			remedy("put CircleCI's own directory before it on PATH, or install the tool under another name")
		if j.canMint() {
			f.Severity = Note
			f.Why += "; " + j.minters[i+1].name + " is asked instead"
		}
		all = append(all, f)
	}
	return all
}

func tokenVariables(v *view) []Finding {
	if v.Finder.Env != "" || v.Finder.File != "" || v.Finder.Audience != "" {
		return nil
	}
	var tokens []oidc.Token
	var all []Finding
	for _, name := range []string{ci.EnvV1, ci.EnvV2} {
		value := v.get(name)
		if value == "" {
			continue
		}
		t, err := oidc.Parse(value, name)
		if err != nil {
			if v.job().err == nil { // not the one that is complained about already
				all = append(all, warns("%s", err).because("the commands take the other variable, with --token-version this one").
					remedy("is something in the configuration overwriting it?"))
			}
			continue
		}
		tokens = append(tokens, t)
		if parts, ok := ci.ParseSubject(t); ok && name == ci.EnvV1 && parts.VCSOrigin != "" {
			all = append(all, warns("%s holds a token with a V2 subject", name).
				because("a trust policy that compares V1 subjects refuses it").
				remedy("let the variable be what CircleCI sets; minted tokens go into another one, with --token-env"))
		} else if ok && name == ci.EnvV2 && parts.VCSOrigin == "" && ci.CircleCIClaim(t, "vcs-origin") != nil {
			all = append(all, warns("%s holds a token with a V1 subject", name).
				because("a trust policy that compares V2 subjects, with the repository and the branch, refuses it").
				remedy("let the variable be what CircleCI sets"))
		}
	}
	return append(all, variablesTogether(v, tokens)...)
}

// variablesTogether compares the tokens of the job's two variables.
func variablesTogether(v *view, tokens []oidc.Token) []Finding {
	switch {
	case len(tokens) == 1 && v.inJob():
		other := ci.EnvV1
		if tokens[0].Source == ci.EnvV1 {
			other = ci.EnvV2
		}
		return []Finding{notes("%s is set, %s is not", tokens[0].Source, other).
			because("a trust policy that is written for the subject of the other one refuses this token").
			remedy("pass both on; 'oidc-broker token' shows the subject that is there")}
	case len(tokens) < 2:
		return nil
	}
	for _, claim := range []string{"iss", "aud", "oidc.circleci.com/project-id", "oidc.circleci.com/job-id"} {
		if a, b := fmt.Sprint(tokens[0].Claims[claim]), fmt.Sprint(tokens[1].Claims[claim]); a != b {
			return []Finding{warns("the claim %s differs between %s and %s", claim, ci.EnvV1, ci.EnvV2).
				because("they are not of the same job, or one was minted for something else: which one a tool reads decides whether it gets in").
				remedy("let both be what CircleCI sets; minted tokens go into a variable of their own")}
		}
	}
	return []Finding{passes("%s is %s, %s is %s", ci.EnvV1, ci.Version(tokens[0]), ci.EnvV2, ci.Version(tokens[1]))}
}

// usualAudience says whether an audience is CircleCI's default, or the name that a
// cloud gives to itself.
func usualAudience(v *view, t oidc.Token, aud string) bool {
	return aud == ci.OrgID(t) || aud == v.get("CIRCLE_ORGANIZATION_ID") || aud == "sts.amazonaws.com" ||
		strings.HasPrefix(strings.TrimPrefix(aud, "https:"), "//iam.googleapis.com/projects/")
}

func tokenAudience(v *view) []Finding {
	j := v.job()
	if !j.found {
		return nil
	}
	if len(j.Audience) > 1 {
		return []Finding{notes("the token has %d audiences", len(j.Audience)).
			because("AWS and Google want one of them to be theirs, some Vault versions each of them").
			remedy("mint one for a single audience: --audience")}
	}
	if aud := j.Audience[0]; !usualAudience(v, j.Token, aud) {
		return []Finding{notes("the token's audience is neither the organisation's id nor a cloud's own name").
			because("a cloud takes a token only for audiences that it was told of").
			remedy("'oidc-broker token' shows it: it has to stand in the AWS provider's client ids, Google's allowed audiences or Vault's bound_audiences")}
	}
	return nil
}

func tokenIssuer(v *view) []Finding {
	j := v.job()
	switch {
	case !j.found:
		return nil
	case j.Issuer == ci.RootIssuer:
		return []Finding{warns("the issuer is %s, which signs for every organisation", ci.RootIssuer).
			because("a provider that was set up for the organisation's own issuer refuses it; one for this issuer lets everybody in whom its conditions do not keep out").
			remedy("mint without --root-issuer; where it is meant, let every trust policy check oidc.circleci.com/org-id and project-id")}
	case strings.HasPrefix(j.Issuer, ci.RootIssuer+"/"):
		org := ci.OrgID(j.Token)
		if org == "" {
			org = v.get("CIRCLE_ORGANIZATION_ID")
		}
		if org != "" && j.Issuer != ci.OrgIssuer(org) {
			return []Finding{warns("the token's issuer is another organisation's than its claims or CIRCLE_ORGANIZATION_ID say").
				because("the clouds know an issuer by its whole name").
				remedy("is it the token of this job? 'oidc-broker token' shows it")}
		}
		return nil
	case v.inJob():
		return []Finding{notes("the issuer is %s, not circleci.com's", host(j.Issuer)).
			because("so it is with a CircleCI server; AWS and Google have to reach it for its keys").
			remedy("--online asks it as they do; the provider must have exactly this issuer, with no slash more")}
	}
	return nil
}

func tokenProject(v *view) []Finding {
	j := v.job()
	if !j.found {
		return nil
	}
	for _, c := range []struct{ claim, has, variable string }{
		{"project-id", ci.ProjectID(j.Token), "CIRCLE_PROJECT_ID"}, {"org-id", ci.OrgID(j.Token), "CIRCLE_ORGANIZATION_ID"},
	} {
		if want := v.get(c.variable); c.has != "" && want != "" && c.has != want {
			return []Finding{warns("the token's %s is not the one in %s", c.claim, c.variable).
				because("it is not the token of this job, and a trust policy for this project refuses it").
				remedy("was it stored, or passed on from another job? Take the one that CircleCI sets")}
		}
	}
	return nil
}

func tokenSSHRerun(v *view) []Finding {
	j := v.job()
	if rerun, _ := ci.CircleCIClaim(j.Token, "ssh-rerun").(bool); !j.found || !rerun {
		return nil
	}
	return []Finding{warns("this job was rerun with SSH").
		because("whoever is logged in has its credentials; trust policies that check ssh-rerun, as 'policy new' writes them, refuse its token").
		remedy("run the job again without SSH")}
}

func tokenFork(v *view) []Finding {
	const remedy = "let every trust policy check oidc.circleci.com/vcs-origin, or the V2 subject; AWS sees the V2 subject alone"
	j := v.job()
	origin, _ := ci.CircleCIClaim(j.Token, "vcs-origin").(string)
	own := ci.Origin(v.get("CIRCLE_REPOSITORY_URL"))
	switch {
	case !j.found:
		return nil // token-missing has it
	case v.Finder.Forked(), origin != "" && own != "" && !strings.EqualFold(strings.TrimSuffix(origin, ".git"), own):
		return []Finding{warns("this builds a fork: the code is somebody else's than CIRCLE_REPOSITORY_URL's").
			because("its author chooses what runs, and the V1 subject is the same as that of the project's own builds").
			remedy(remedy)}
	}
	return nil
}

func tokenWebhook(v *view) []Finding {
	j := v.job()
	if _, circle := ci.ParseSubject(j.Token); !j.found || !circle || ci.CircleCIClaim(j.Token, "vcs-origin") != nil {
		return nil
	}
	return []Finding{notes("the token names no repository and no branch").
		because("so it is in a pipeline that a custom webhook started: the V2 subject is the V1 one, and conditions on vcs-origin or vcs-ref never match").
		remedy("write the trust policy for this trigger by project-id, and keep in mind who can call the webhook")}
}

// maxTokenFile bounds what is read of a file that holds a token.
const maxTokenFile = 64 << 10

// tokenFile looks into a file that a tool takes a token from. what begins the
// sentence; extract returns the token as the tool takes it, nil means the whole file.
func tokenFile(v *view, what, path string, extract func([]byte) (string, error)) (f Finding, bad bool) {
	content, _, err := v.read(path, maxTokenFile)
	what += " " + v.place(path) + ", which"
	if err != nil {
		return fails("%s cannot be read: %v", what, err), true
	}
	text := string(content)
	if extract != nil {
		if text, err = extract(content); err != nil {
			return fails("%s is %v", what, err), true
		}
	}
	switch t, err := oidc.Parse(text, "it"); {
	case strings.TrimSpace(text) == "":
		return fails("%s is empty", what), true
	case err != nil:
		return fails("%s holds no token", what), true
	case t.Expired(v.Now):
		return fails("%s holds a token that expired %s ago", what, v.Now.Sub(t.Expiry).Round(time.Second)), true
	case strings.TrimSpace(text) != text:
		return warns("%s has white space around the token", what), true
	}
	return Finding{}, false
}
