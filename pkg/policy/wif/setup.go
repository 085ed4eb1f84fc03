package wif

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// A Setup says what is made at Google for a job.
type Setup struct {
	policy.Job
	ProjectNumber string // of the pool's project
	PoolID        string
	ProviderID    string
	// ServiceAccount is the address of the account that the job impersonates.
	ServiceAccount string
}

const (
	numberForm  = `^[1-9][0-9]{5,18}$`
	idForm      = `^[a-z0-9-]{4,32}$`
	accountForm = `^[a-z0-9][a-z0-9._-]*@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+gserviceaccount\.com$`
	// The accounts of a plain project are the ones whose address has its id.
	accountProject = `^[^@]+@([a-z][a-z0-9-]*)\.iam\.gserviceaccount\.com$`
)

// Formats returns the formats that a Setup can be written in.
func Formats() []string { return []string{"json", "terraform", "cli"} }

// Write returns a provider that takes the job's tokens and no others, and the
// binding that lets them impersonate the service account. Errors are fault.Usage.
func (s Setup) Write(format string) (policy.Setup, error) {
	write := map[string]func(Setup) ([]byte, error){
		"json": Setup.json, "terraform": Setup.terraform, "cli": Setup.cli,
	}[format]
	if write == nil {
		return policy.Setup{}, fault.New(fault.Usage, "there is no format %q for gcp", format).Hint("it is one of %s", strings.Join(Formats(), ", "))
	}
	s, err := s.settle()
	if err != nil {
		return policy.Setup{}, err
	}
	text, err := write(s)
	return policy.Setup{Text: text, Notes: s.notes(format)}, err
}

func (s Setup) settle() (Setup, error) {
	job, err := s.Resolve()
	if err != nil {
		return s, err
	}
	s.Job = job
	for _, o := range []struct{ option, value, form, hint string }{
		{"--project-number", s.ProjectNumber, numberForm, "gcloud projects describe PROJECT_ID --format='value(projectNumber)' prints it"},
		{"--pool-id", s.PoolID, idForm, "an id has 4 to 32 of a-z, 0-9 and -"},
		{"--provider-id", s.ProviderID, idForm, "an id has 4 to 32 of a-z, 0-9 and -"},
		{"--service-account", s.ServiceAccount, accountForm, "it is like deploy@my-project.iam.gserviceaccount.com"},
	} {
		switch {
		case o.value == "":
			return s, fault.New(fault.Usage, "%s is missing", o.option).Hint("%s", o.hint)
		case !regexp.MustCompile(o.form).MatchString(o.value):
			return s, fault.New(fault.Usage, "%s %q is not of the form that Google takes", o.option, o.value).Hint("%s", o.hint)
		case strings.HasPrefix(o.value, "gcp-") && o.form == idForm:
			return s, fault.New(fault.Usage, "%s %q begins with gcp-, which Google keeps for itself", o.option, o.value)
		}
	}
	if n := len([]rune(s.Audience)); n > maxAudience {
		return s, fault.New(fault.Usage, "--audience has %d characters, and Google takes %d", n, maxAudience)
	}
	if strings.ContainsFunc(s.Audience, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s, fault.New(fault.Usage, "--audience %q has characters that do not print", s.Audience)
	}
	return s, nil
}

func (s Setup) pool() string { return "projects/" + s.ProjectNumber + poolPath + s.PoolID }

// account returns the service account's resource name.
func (s Setup) account() string {
	project := "-" // Google finds it by the address
	if m := regexp.MustCompile(accountProject).FindStringSubmatch(s.ServiceAccount); m != nil {
		project = m[1]
	}
	return "projects/" + project + "/serviceAccounts/" + s.ServiceAccount
}

// projectAttribute is what the binding goes by. CircleCI assigns the
// project's id, and no job can choose another, unlike aud and the branch.
const projectAttribute = "attribute.project_id"

func (s Setup) member() string {
	return principalName(s.pool(), projectAttribute+"/"+s.Project)
}

// A quote is the mark around CEL's texts, ' or ": whichever its
// surroundings need not escape.
type quote string

func (q quote) text(s string) string  { return string(q) + s + string(q) }
func (q quote) claim(s string) string { return assertion + "[" + q.text(s) + "]" }

// mappingFor fits both kinds of subject: what it takes of them stands before
// anything that a job can choose, the repository's and the branch's name. With
// 86 bytes it is clear of the limit of 127, at which a whole V1 subject ends.
func mappingFor(q quote) map[string]string {
	project := q.claim(policy.ClaimProject)
	return map[string]string{
		subject:            q.text("project/") + " + " + project + " + " + q.text("/user/") + " + " + "assertion.sub.split(" + q.text("/") + ")[5]",
		"attribute.org_id": q.claim(policy.ClaimOrg),
		projectAttribute:   project,
	}
}

// conditionFor admits the job. A claim that a token may lack is asked for
// first: without, CEL's error refuses as well, until somebody adds an ||, which
// swallows errors.
func conditionFor(j policy.Job, q quote) string {
	guarded := func(claim, want string) string {
		return q.text(claim) + " in assertion && " + q.claim(claim) + " == " + want
	}
	parts := []string{
		q.claim(policy.ClaimProject) + " == " + q.text(j.Project),
		guarded(policy.ClaimSSHRerun, "false"),
	}
	if j.VCSOrigin != "" {
		parts = append(parts, guarded(policy.ClaimOrigin, q.text(j.VCSOrigin)))
	}
	if j.VCSRef != "" {
		parts = append(parts, guarded(policy.ClaimRef, q.text(j.VCSRef)))
	}
	return strings.Join(parts, " && ")
}

func (s Setup) notes(format string) []string {
	all := []string{
		"it takes Google up to five minutes until a new pool, provider or binding counts",
		"the IAM Service Account Credentials API has to be enabled in the service account's project, the Security Token Service API in the pool's: " +
			"gcloud services enable iamcredentials.googleapis.com sts.googleapis.com",
		"keep the pool for this provider: the binding counts for what every provider of the pool maps",
		"an access token that was made stays good for up to an hour after the provider or the binding is gone",
	}
	switch {
	case s.VCSOrigin == "":
		all = append(all, "without --vcs-origin the builds of forks get in, where CircleCI passes secrets to them")
	case s.VCSRef == "":
		all = append(all, "without --vcs-ref every branch of the repository gets in, and pipelines that a webhook started do not")
	default:
		all = append(all, "pipelines that a webhook started do not get in: their tokens name no repository",
			"the branch says whose code is built, not which configuration: where CircleCI allows unversioned configuration, other steps get the same token")
	}
	if format == "json" {
		all = append(all, "gcloud iam service-accounts set-iam-policy replaces the whole policy: merge the binding into what is there, or use add-iam-policy-binding")
	}
	return all
}

type setupJSON struct {
	Provider struct {
		Name      string            `json:"name"`
		Mapping   map[string]string `json:"attributeMapping"`
		Condition string            `json:"attributeCondition"`
		OIDC      struct {
			Issuer    string   `json:"issuerUri"`
			Audiences []string `json:"allowedAudiences"`
		} `json:"oidc"`
	} `json:"provider"`
	Policy struct {
		Bindings []bindingJSON `json:"bindings"`
	} `json:"iamPolicy"`
}

type bindingJSON struct {
	Role    string   `json:"role"`
	Members []string `json:"members"`
}

// json writes what gcloud prints of the two, beside each other: ParseGCP reads
// it.
func (s Setup) json() ([]byte, error) {
	var doc setupJSON
	doc.Provider.Name = s.pool() + "/providers/" + s.ProviderID
	doc.Provider.Mapping = mappingFor("'")
	doc.Provider.Condition = conditionFor(s.Job, "'")
	doc.Provider.OIDC.Issuer = ci.OrgIssuer(s.Org)
	doc.Provider.OIDC.Audiences = []string{s.Audience}
	doc.Policy.Bindings = []bindingJSON{{userRole, []string{s.member()}}}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return nil, fault.New(fault.Internal, "cannot write the provider: %w", err)
	}
	return b.Bytes(), nil
}

// hCL quotes a text for Terraform, whose texts know ${ and %{.
func hCL(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$${", "%{", "%%{").Replace(s) + `"`
}

func (s Setup) terraform() ([]byte, error) {
	mapping := mappingFor("'")
	keys := []string{}
	width := 0
	for key := range mapping {
		keys = append(keys, key)
		width = max(width, len(key)+2)
	}
	slices.Sort(keys)
	var lines strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&lines, "    %-*s = %s\n", width, hCL(key), hCL(mapping[key]))
	}
	return fmt.Appendf(nil, `resource "google_iam_workload_identity_pool" "circleci" {
  project                   = %s
  workload_identity_pool_id = %s
  display_name              = "CircleCI"
}

resource "google_iam_workload_identity_pool_provider" "circleci" {
  project                            = google_iam_workload_identity_pool.circleci.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.circleci.workload_identity_pool_id
  workload_identity_pool_provider_id = %s

  attribute_mapping = {
%s  }

  attribute_condition = %s

  oidc {
    issuer_uri        = %s
    allowed_audiences = [%s]
  }
}

resource "google_service_account_iam_member" "circleci" {
  service_account_id = %s
  role               = %s
  member             = "principalSet:%s${google_iam_workload_identity_pool.circleci.name}/%s/%s"
}
`, hCL(s.ProjectNumber), hCL(s.PoolID), hCL(s.ProviderID), lines.String(), hCL(conditionFor(s.Job, "'")),
		hCL(ci.OrgIssuer(s.Org)), hCL(s.Audience), hCL(s.account()),
		hCL(userRole), host, projectAttribute, s.Project), nil
}

// cli writes a script of gcloud's commands.
func (s Setup) cli() ([]byte, error) {
	mapping := mappingFor(`"`)
	var pairs []string
	for key, expression := range mapping {
		pairs = append(pairs, key+"="+expression)
	}
	slices.Sort(pairs)
	script := []string{"#!/bin/sh", "set -eu"}
	command := func(first string, flags ...string) {
		for _, f := range flags {
			first += " \\\n  " + shell.Word(f)
		}
		script = append(script, "", first)
	}
	// gcloud takes a project's number in a whole name, and refuses it in --project.
	command("gcloud services enable iam.googleapis.com sts.googleapis.com iamcredentials.googleapis.com", "--project="+s.ProjectNumber)
	command("gcloud iam workload-identity-pools create "+s.pool(), "--display-name=CircleCI")
	command("gcloud iam workload-identity-pools providers create-oidc "+s.pool()+"/providers/"+s.ProviderID,
		"--issuer-uri="+ci.OrgIssuer(s.Org), "--allowed-audiences="+gcloudList(s.Audience),
		"--attribute-mapping="+strings.Join(pairs, ","), "--attribute-condition="+conditionFor(s.Job, `"`))
	// Without --condition gcloud asks, where the policy has conditions already.
	command("gcloud iam service-accounts add-iam-policy-binding "+s.account(), "--role="+userRole, "--member="+s.member(), "--condition=None")
	return []byte(strings.Join(script, "\n") + "\n"), nil
}

// gcloudList writes a list of one for gcloud, which splits at commas unless
// another mark is named at its beginning (gcloud topic escaping).
func gcloudList(item string) string {
	if !strings.Contains(item, ",") && !strings.HasPrefix(item, "^") {
		return item
	}
	mark := "|"
	for strings.Contains(item, mark) {
		mark += "|"
	}
	return "^" + mark + "^" + item
}
