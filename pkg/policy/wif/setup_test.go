package wif

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

func setup(j policy.Job) Setup {
	j.Org, j.Project = ci.SampleOrg, ci.SampleProject
	return Setup{Job: j, ProjectNumber: "123456789012", PoolID: "circleci", ProviderID: "jobs", ServiceAccount: "deploy@my-project.iam.gserviceaccount.com"}
}

// shapes are all that a job can be: with and without a repository, a branch,
// a tag, an audience, and names that every format has to quote.
func shapes() map[string]policy.Job {
	return map[string]policy.Job{
		"project":       {},
		"audience":      {Audience: "https://iam.googleapis.com/" + testName},
		"origin":        {VCSOrigin: ci.SampleOrigin},
		"branch":        {VCSOrigin: ci.SampleOrigin, VCSRef: "refs/heads/main"},
		"tag":           {VCSOrigin: ci.SampleOrigin, VCSRef: "refs/tags/v1.2.3", Audience: "deploy"},
		"gitlab":        {VCSOrigin: "gitlab.com/my-group/sub.group/app", VCSRef: "refs/heads/release/1.0"},
		"odd branch":    {VCSOrigin: ci.SampleOrigin, VCSRef: "refs/heads/a%{b}&<é>|;(#)!"},
		"odd audience":  {Audience: "a,b|c ${d} %{e} \"f\" 'g' \\h $(i) `j` ^k"},
		"other marks":   {Audience: "^,^|||"},
		"long audience": {Audience: strings.Repeat("é", 256)},
	}
}

func write(t *testing.T, s Setup, format string) policy.Setup {
	t.Helper()
	out, err := s.Write(format)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSetup(t *testing.T) {
	read := map[string]func(*testing.T, []byte) *Provider{
		"json": func(t *testing.T, b []byte) *Provider {
			p, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			return p
		},
		"terraform": fromTerraform,
		"cli":       fromScript,
	}
	for name, job := range shapes() {
		for _, format := range Formats() {
			t.Run(name+"/"+format, func(t *testing.T) {
				s := setup(job)
				p := read[format](t, write(t, s, format).Text)
				if p.Name() != testName {
					t.Errorf("the provider is %q", p.Name())
				}
				settled, err := s.Resolve()
				if err != nil {
					t.Fatal(err)
				}
				admitsOnly(t, p, settled)
			})
		}
	}
}

// admitsOnly holds a provider against every kind of token there is.
func admitsOnly(t *testing.T, p *Provider, j policy.Job) {
	t.Helper()
	own := j.Variant()
	with := func(change func(*ci.Variant)) ci.Variant {
		v := own
		change(&v)
		return v
	}
	claim := func(name, value string) ci.Variant {
		return with(func(v *ci.Variant) { v.Claims = map[string]json.RawMessage{name: json.RawMessage(value)} })
	}
	branch := func(name string) ci.Variant {
		return with(func(v *ci.Variant) { v.Branch, v.Tag = name, "" })
	}
	never, anyOrigin, anyRef := policy.Deny, policy.Allow, policy.Allow
	if j.VCSOrigin != "" {
		anyOrigin = policy.Deny
	}
	if j.VCSRef != "" {
		anyRef = policy.Deny
	}
	for name, row := range map[string]struct {
		variant ci.Variant
		want    policy.Verdict
	}{
		"own":                      {own, policy.Allow},
		"another user":             {with(func(v *ci.Variant) { v.User = otherID }), policy.Allow},
		"no contexts":              {claim(policy.ClaimContexts, "null"), policy.Allow},
		"fork":                     {with(func(v *ci.Variant) { v.Fork, v.Branch, v.Tag = true, "", "" }), anyOrigin},
		"fork, branch as upstream": {with(func(v *ci.Variant) { v.Fork = true }), anyOrigin},
		"origin that goes on":      {with(func(v *ci.Variant) { v.Origin = or(v.Origin, ci.SampleOrigin) + "-evil" }), anyOrigin},
		"origin that begins":       {with(func(v *ci.Variant) { v.Origin = "evil.example/" + or(v.Origin, ci.SampleOrigin) }), anyOrigin},
		"webhook":                  {with(func(v *ci.Variant) { v.Webhook, v.Tag = true, "" }), anyOrigin},
		"another branch":           {branch("dev"), anyRef},
		"crafted branch":           {branch(evil), anyRef},
		"crafted origin":           {branch("x/vcs-origin/" + or(j.VCSOrigin, ci.SampleOrigin) + "/vcs-ref/" + or(j.VCSRef, "refs/heads/main")), anyRef},
		"branch that ends so":      {branch("x/" + or(j.VCSRef, "refs/heads/main")), anyRef},
		"branch that begins so":    {branch(strings.TrimPrefix(or(j.VCSRef, "refs/heads/main"), "refs/heads/") + "-x"), anyRef},
		"branch like a project":    {with(func(v *ci.Variant) { v.Project, v.Branch, v.Tag = otherID, "x/project/"+j.Project, "" }), never},
		"ssh rerun":                {with(func(v *ci.Variant) { v.SSHRerun = true }), never},
		"ssh rerun as text":        {claim(policy.ClaimSSHRerun, `"false"`), never},
		"ssh rerun null":           {claim(policy.ClaimSSHRerun, `null`), never},
		"other project":            {with(func(v *ci.Variant) { v.Project = otherID }), never},
		"project is a list":        {claim(policy.ClaimProject, `["`+j.Project+`"]`), never},
		"other organisation":       {with(func(v *ci.Variant) { v.Org = otherID }), never},
		"root issuer":              {with(func(v *ci.Variant) { v.RootIssuer = true }), never},
		"root issuer, other org":   {with(func(v *ci.Variant) { v.RootIssuer, v.Org, v.Project = true, otherID, otherID }), never},
		"other audience":           {with(func(v *ci.Variant) { v.Audience = "sts.amazonaws.com" }), never},
		"expired":                  {with(func(v *ci.Variant) { v.Expired = true }), never},
	} {
		v1, v2 := policy.ClaimsOf(row.variant, testNow)
		for version, c := range map[string]policy.Claims{"V1": v1, "V2": v2} {
			if judged := p.Check(Request{Claims: c, Now: testNow}); judged.Verdict != row.want {
				t.Errorf("%s, %s: %s (%s), want %s", name, version, judged.Verdict, judged.Reason, row.want)
			}
		}
	}
	for _, name := range []string{policy.ClaimProject, policy.ClaimSSHRerun, policy.ClaimOrg, "sub", "aud", "iss"} {
		v1, _ := policy.ClaimsOf(own, testNow)
		delete(v1, name)
		if judged := p.Check(Request{Claims: v1, Now: testNow}); judged.Verdict == policy.Allow {
			t.Errorf("allowed without %s", name)
		}
	}
	// What else the issuer signs: the organisation's audit log.
	audit := policy.Claims{"iss": ci.OrgIssuer(j.Org), "aud": j.Audience, "sub": "org/" + j.Org + "/file-streaming/audit-logs"}
	if judged := p.Check(Request{Claims: audit}); judged.Verdict != policy.Deny {
		t.Errorf("the audit log: %s", judged.Verdict)
	}
}

// unHCL reads one of Terraform's texts.
func unHCL(t *testing.T, s string) string {
	t.Helper()
	u, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return strings.NewReplacer("$${", "${", "%%{", "%{").Replace(u)
}

// fromTerraform makes of the file what Terraform would show of it, and has
// Terraform look at the form.
func fromTerraform(t *testing.T, b []byte) *Provider {
	t.Helper()
	testenv.NeedFull(t, "starts Terraform")
	terraform := testenv.Program(t, "terraform")
	fmtCheck := exec.Command(terraform, "fmt", "-check", "-diff", "-")
	fmtCheck.Stdin = bytes.NewReader(b)
	if out, err := fmtCheck.CombinedOutput(); err != nil {
		t.Fatalf("terraform fmt: %v\n%s", err, out)
	}
	value := func(name string) string {
		m := regexp.MustCompile(`(?m)^ +"?`+regexp.QuoteMeta(name)+`"? += \[?(".*")\]?$`).FindAllSubmatch(b, -1)
		if len(m) == 0 {
			t.Fatalf("no %s in\n%s", name, b)
		}
		return unHCL(t, string(m[0][1]))
	}
	// The parts without an escape sequence of Terraform's are its own templates.
	if free := regexp.MustCompile(`[^$]\$\{[^}]*\}`).FindAll(b, -1); len(free) != 1 {
		t.Errorf("templates: %q", free)
	}
	pool := "projects/" + value("project") + poolPath + value("workload_identity_pool_id")
	doc := map[string]any{
		"provider": map[string]any{
			"name":                               pool + "/providers/" + value("workload_identity_pool_provider_id"),
			"workload_identity_pool_id":          value("workload_identity_pool_id"),
			"workload_identity_pool_provider_id": value("workload_identity_pool_provider_id"),
			"attribute_condition":                value("attribute_condition"),
			"attribute_mapping": map[string]string{"google.subject": value("google.subject"),
				"attribute.project_id": value("attribute.project_id"), "attribute.org_id": value("attribute.org_id")},
			"oidc": []any{map[string]any{"issuer_uri": value("issuer_uri"), "allowed_audiences": []string{value("allowed_audiences")}}},
		},
		"iamPolicy": map[string]any{"bindings": []any{grant(value("role"), strings.Replace(value("member"), "${google_iam_workload_identity_pool.circleci.name}", pool, 1))}},
	}
	if value("service_account_id") != "projects/my-project/serviceAccounts/deploy@my-project.iam.gserviceaccount.com" {
		t.Errorf("the account is %q", value("service_account_id"))
	}
	p, err := Parse(marshal(t, doc))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fromScript runs the script with a gcloud that notes its arguments.
func fromScript(t *testing.T, b []byte) *Provider {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a shell's script")
	}
	sh := testenv.Program(t, "sh")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "gcloud"), []byte("#!/bin/sh\nprintf '%s\\0' \"$@\" END >>\"$LOG\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(sh, "-s")
	run.Stdin = bytes.NewReader(b)
	run.Env = []string{"PATH=" + dir, "LOG=" + filepath.Join(dir, "log")}
	if out, err := run.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var calls [][]string
	for call := range strings.SplitSeq(strings.TrimSuffix(string(log), "END\x00"), "END\x00") {
		calls = append(calls, strings.Split(strings.TrimSuffix(call, "\x00"), "\x00"))
	}
	if len(calls) != 4 {
		t.Fatalf("%d commands: %q", len(calls), calls)
	}
	flags := map[string]string{}
	for _, word := range slices.Concat(calls...) {
		if name, v, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, "--") {
			flags[name] = v
		}
	}
	mapping := map[string]string{}
	for pair := range strings.SplitSeq(flags["--attribute-mapping"], ",") {
		key, v, _ := strings.Cut(pair, "=")
		mapping[key] = v
	}
	audiences := []string{flags["--allowed-audiences"]}
	if rest, ok := strings.CutPrefix(audiences[0], "^"); ok {
		mark, rest, _ := strings.Cut(rest, "^")
		audiences = strings.Split(rest, mark)
	} else {
		audiences = strings.Split(audiences[0], ",")
	}
	p, err := Parse(marshal(t, map[string]any{
		"provider": map[string]any{"name": calls[2][4], "attributeMapping": mapping, "attributeCondition": flags["--attribute-condition"],
			"oidc": map[string]any{"issuerUri": flags["--issuer-uri"], "allowedAudiences": audiences}},
		"iamPolicy": map[string]any{"bindings": []any{grant(flags["--role"], flags["--member"])}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The real gcloud reads the script's arguments as they are meant.
func TestScriptWithGcloud(t *testing.T) {
	testenv.NeedFull(t, "starts gcloud")
	testenv.Program(t, "gcloud")
	var lock sync.Mutex
	sent := map[string]map[string]any{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m map[string]any
		_ = json.Unmarshal(body, &m)
		lock.Lock()
		sent[r.URL.Path+r.URL.Query().Get("workloadIdentityPoolId")+r.URL.Query().Get("workloadIdentityPoolProviderId")] = m
		lock.Unlock()
		w.Header().Set("Content-Type", "application/json")
		answer := any(map[string]any{"name": "operations/x", "done": true, "response": map[string]any{}})
		if strings.HasSuffix(r.URL.Path, "IamPolicy") {
			answer = map[string]any{"etag": "ACAB", "version": 1}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("ya29.token"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := setup(policy.Job{VCSOrigin: ci.SampleOrigin, VCSRef: "refs/heads/main", Audience: "a,b c"})
	run := exec.Command("sh", "-s")
	run.Stdin = bytes.NewReader(write(t, s, "cli").Text)
	run.Env = append(os.Environ(), "HOME="+dir, "CLOUDSDK_CONFIG="+dir, "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE="+token, "CLOUDSDK_CORE_DISABLE_PROMPTS=1",
		"CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=1", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM="+server.URL+"/", "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE="+server.URL+"/")
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pools := "/v1/projects/123456789012/locations/global/workloadIdentityPools"
	provider := sent[pools+"/circleci/providersjobs"]
	if sent[pools+"circleci"] == nil || provider == nil || sent["/v1/projects/123456789012/services:batchEnable"] == nil {
		t.Fatalf("%v", sent)
	}
	provider["name"] = testName
	policy, _ := sent["/v1/projects/my-project/serviceAccounts/deploy@my-project.iam.gserviceaccount.com:setIamPolicy"]["policy"].(map[string]any)
	p, err := Parse(marshal(t, map[string]any{"provider": provider, "iamPolicy": policy}))
	if err != nil {
		t.Fatal(err)
	}
	settled, err := s.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	admitsOnly(t, p, settled)
}

func TestSetupErrors(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Setup)
		want   string
	}{
		{"no org", func(s *Setup) { s.Org = "" }, "--org is missing"},
		{"project", func(s *Setup) { s.Project = "my-org/app" }, `--project "my-org/app" is not a UUID`},
		{"ref without origin", func(s *Setup) { s.VCSRef = "refs/heads/main" }, "--vcs-ref needs --vcs-origin"},
		{"no number", func(s *Setup) { s.ProjectNumber = "" }, "--project-number is missing"},
		{"id for number", func(s *Setup) { s.ProjectNumber = "my-project" }, `--project-number "my-project" is not of the form`},
		{"exponent", func(s *Setup) { s.ProjectNumber = "1.23457e+11" }, "--project-number"},
		{"pool", func(s *Setup) { s.PoolID = "CircleCI" }, `--pool-id "CircleCI" is not of the form`},
		{"short pool", func(s *Setup) { s.PoolID = "ci" }, "--pool-id"},
		{"long provider", func(s *Setup) { s.ProviderID = strings.Repeat("a", 33) }, "--provider-id"},
		{"no provider", func(s *Setup) { s.ProviderID = "" }, "--provider-id is missing"},
		{"reserved", func(s *Setup) { s.PoolID = "gcp-circleci" }, "which Google keeps for itself"},
		{"no account", func(s *Setup) { s.ServiceAccount = "" }, "--service-account is missing"},
		{"account", func(s *Setup) { s.ServiceAccount = "me@example.com" }, "--service-account"},
		{"account with more", func(s *Setup) { s.ServiceAccount = "a@b.iam.gserviceaccount.com\nx" }, "--service-account"},
		{"account with a template", func(s *Setup) { s.ServiceAccount = "${x}@b.iam.gserviceaccount.com" }, "--service-account"},
		{"long audience", func(s *Setup) { s.Audience = strings.Repeat("a", 257) }, "--audience has 257 characters, and Google takes 256"},
		{"line in the audience", func(s *Setup) { s.Audience = "a\nb" }, "characters that do not print"},
	} {
		s := setup(policy.Job{})
		row.change(&s)
		if out, err := s.Write("cli"); err == nil || !strings.Contains(err.Error(), row.want) || fault.KindOf(err) != fault.Usage || out.Text != nil {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
	if _, err := setup(policy.Job{}).Write("cloudformation"); err == nil || fault.KindOf(err) != fault.Usage || !strings.Contains(fault.Hints(err)[0], "json, terraform, cli") {
		t.Error(err)
	}
}

func TestSetupNotes(t *testing.T) {
	for _, row := range []struct {
		job         policy.Job
		format      string
		has, hasNot string
	}{
		{policy.Job{}, "cli", "the builds of forks get in", "webhook"},
		{policy.Job{VCSOrigin: ci.SampleOrigin}, "cli", "every branch of the repository gets in", "forks"},
		{policy.Job{VCSOrigin: ci.SampleOrigin, VCSRef: "refs/heads/main"}, "terraform", "unversioned configuration", "forks"},
		{policy.Job{}, "json", "set-iam-policy replaces the whole policy", ""},
		{policy.Job{}, "terraform", "up to five minutes", "set-iam-policy"},
		{policy.Job{}, "terraform", "iamcredentials.googleapis.com", ""},
		{policy.Job{}, "terraform", "keep the pool for this provider", ""},
	} {
		all := strings.Join(write(t, setup(row.job), row.format).Notes, "\n")
		if !strings.Contains(all, row.has) || row.hasNot != "" && strings.Contains(all, row.hasNot) {
			t.Errorf("%+v in\n%s", row, all)
		}
	}
}

// The accounts of other kinds of project have their project's id elsewhere.
func TestSetupAccounts(t *testing.T) {
	for account, want := range map[string]string{
		"deploy@my-project.iam.gserviceaccount.com":             "projects/my-project/serviceAccounts/deploy@my-project.iam.gserviceaccount.com",
		"123456789012-compute@developer.gserviceaccount.com":    "projects/-/serviceAccounts/123456789012-compute@developer.gserviceaccount.com",
		"my-project@appspot.gserviceaccount.com":                "projects/-/serviceAccounts/my-project@appspot.gserviceaccount.com",
		"deploy@my-project.example.com.iam.gserviceaccount.com": "projects/-/serviceAccounts/deploy@my-project.example.com.iam.gserviceaccount.com",
	} {
		s := setup(policy.Job{})
		s.ServiceAccount = account
		for _, format := range []string{"terraform", "cli"} {
			if text := string(write(t, s, format).Text); !strings.Contains(text, want) {
				t.Errorf("%s: no %s in\n%s", format, want, text)
			}
		}
	}
}

func ExampleSetup() {
	s := Setup{Job: policy.Job{Org: ci.SampleOrg, Project: ci.SampleProject, VCSOrigin: "github.com/my-org/app", VCSRef: "refs/heads/main"},
		ProjectNumber: "123456789012", PoolID: "circleci", ProviderID: "deploy", ServiceAccount: "deploy@my-project.iam.gserviceaccount.com"}
	out, err := s.Write("json")
	if err != nil {
		panic(err)
	}
	p, err := Parse(out.Text)
	if err != nil {
		panic(err)
	}
	_, fork := policy.ClaimsOf(ci.Variant{Fork: true}, time.Unix(1763071432, 0))
	fmt.Println(p.Check(Request{Claims: fork}).Verdict)
	// Output: deny
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
