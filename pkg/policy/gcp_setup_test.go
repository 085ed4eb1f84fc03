package policy

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

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

func gcpSetup(j Job) GCPSetup {
	j.Org, j.Project = oidc.SampleOrg, oidc.SampleProject
	return GCPSetup{Job: j, ProjectNumber: "123456789012", PoolID: "circleci", ProviderID: "jobs", ServiceAccount: "deploy@my-project.iam.gserviceaccount.com"}
}

// gcpShapes are all that a job can be: with and without a repository, a branch,
// a tag, an audience, and names that every format has to quote.
func gcpShapes() map[string]Job {
	return map[string]Job{
		"project":       {},
		"audience":      {Audience: "https://iam.googleapis.com/" + gcpTestName},
		"origin":        {VCSOrigin: oidc.SampleOrigin},
		"branch":        {VCSOrigin: oidc.SampleOrigin, VCSRef: "refs/heads/main"},
		"tag":           {VCSOrigin: oidc.SampleOrigin, VCSRef: "refs/tags/v1.2.3", Audience: "deploy"},
		"gitlab":        {VCSOrigin: "gitlab.com/my-group/sub.group/app", VCSRef: "refs/heads/release/1.0"},
		"odd branch":    {VCSOrigin: oidc.SampleOrigin, VCSRef: "refs/heads/a%{b}&<é>|;(#)!"},
		"odd audience":  {Audience: "a,b|c ${d} %{e} \"f\" 'g' \\h $(i) `j` ^k"},
		"other marks":   {Audience: "^,^|||"},
		"long audience": {Audience: strings.Repeat("é", 256)},
	}
}

func gcpWrite(t *testing.T, s GCPSetup, format string) Setup {
	t.Helper()
	out, err := s.Write(format)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGCPSetup(t *testing.T) {
	read := map[string]func(*testing.T, []byte) *GCPProvider{
		"json": func(t *testing.T, b []byte) *GCPProvider {
			p, err := ParseGCP(b)
			if err != nil {
				t.Fatal(err)
			}
			return p
		},
		"terraform": gcpFromTerraform,
		"cli":       gcpFromScript,
	}
	for name, job := range gcpShapes() {
		for _, format := range GCPFormats() {
			t.Run(name+"/"+format, func(t *testing.T) {
				s := gcpSetup(job)
				p := read[format](t, gcpWrite(t, s, format).Text)
				if p.Name() != gcpTestName {
					t.Errorf("the provider is %q", p.Name())
				}
				settled, err := s.Settle()
				if err != nil {
					t.Fatal(err)
				}
				gcpAdmitsOnly(t, p, settled)
			})
		}
	}
}

// gcpAdmitsOnly holds a provider against every kind of token there is.
func gcpAdmitsOnly(t *testing.T, p *GCPProvider, j Job) {
	t.Helper()
	own := j.variant()
	with := func(change func(*oidc.Variant)) oidc.Variant {
		v := own
		change(&v)
		return v
	}
	claim := func(name, value string) oidc.Variant {
		return with(func(v *oidc.Variant) { v.Claims = map[string]json.RawMessage{name: json.RawMessage(value)} })
	}
	branch := func(name string) oidc.Variant {
		return with(func(v *oidc.Variant) { v.Branch, v.Tag = name, "" })
	}
	never, anyOrigin, anyRef := Deny, Allow, Allow
	if j.VCSOrigin != "" {
		anyOrigin = Deny
	}
	if j.VCSRef != "" {
		anyRef = Deny
	}
	for name, row := range map[string]struct {
		variant oidc.Variant
		want    Verdict
	}{
		"own":                      {own, Allow},
		"another user":             {with(func(v *oidc.Variant) { v.User = gcpOtherID }), Allow},
		"no contexts":              {claim(claimContexts, "null"), Allow},
		"fork":                     {with(func(v *oidc.Variant) { v.Fork, v.Branch, v.Tag = true, "", "" }), anyOrigin},
		"fork, branch as upstream": {with(func(v *oidc.Variant) { v.Fork = true }), anyOrigin},
		"origin that goes on":      {with(func(v *oidc.Variant) { v.Origin = gcpOr(v.Origin, oidc.SampleOrigin) + "-evil" }), anyOrigin},
		"origin that begins":       {with(func(v *oidc.Variant) { v.Origin = "evil.example/" + gcpOr(v.Origin, oidc.SampleOrigin) }), anyOrigin},
		"webhook":                  {with(func(v *oidc.Variant) { v.Webhook, v.Tag = true, "" }), anyOrigin},
		"another branch":           {branch("dev"), anyRef},
		"crafted branch":           {branch(gcpEvil), anyRef},
		"crafted origin":           {branch("x/vcs-origin/" + gcpOr(j.VCSOrigin, oidc.SampleOrigin) + "/vcs-ref/" + gcpOr(j.VCSRef, "refs/heads/main")), anyRef},
		"branch that ends so":      {branch("x/" + gcpOr(j.VCSRef, "refs/heads/main")), anyRef},
		"branch that begins so":    {branch(strings.TrimPrefix(gcpOr(j.VCSRef, "refs/heads/main"), "refs/heads/") + "-x"), anyRef},
		"branch like a project":    {with(func(v *oidc.Variant) { v.Project, v.Branch, v.Tag = gcpOtherID, "x/project/"+j.Project, "" }), never},
		"ssh rerun":                {with(func(v *oidc.Variant) { v.SSHRerun = true }), never},
		"ssh rerun as text":        {claim(claimSSHRerun, `"false"`), never},
		"ssh rerun null":           {claim(claimSSHRerun, `null`), never},
		"other project":            {with(func(v *oidc.Variant) { v.Project = gcpOtherID }), never},
		"project is a list":        {claim(claimProject, `["`+j.Project+`"]`), never},
		"other organisation":       {with(func(v *oidc.Variant) { v.Org = gcpOtherID }), never},
		"root issuer":              {with(func(v *oidc.Variant) { v.RootIssuer = true }), never},
		"root issuer, other org":   {with(func(v *oidc.Variant) { v.RootIssuer, v.Org, v.Project = true, gcpOtherID, gcpOtherID }), never},
		"other audience":           {with(func(v *oidc.Variant) { v.Audience = "sts.amazonaws.com" }), never},
		"expired":                  {with(func(v *oidc.Variant) { v.Expired = true }), never},
	} {
		v1, v2 := ClaimsOf(row.variant, gcpTestNow)
		for version, c := range map[string]Claims{"V1": v1, "V2": v2} {
			if judged := p.Check(GCPRequest{Claims: c, Now: gcpTestNow}); judged.Verdict != row.want {
				t.Errorf("%s, %s: %s (%s), want %s", name, version, judged.Verdict, judged.Reason, row.want)
			}
		}
	}
	for _, name := range []string{claimProject, claimSSHRerun, claimOrg, "sub", "aud", "iss"} {
		v1, _ := ClaimsOf(own, gcpTestNow)
		delete(v1, name)
		if judged := p.Check(GCPRequest{Claims: v1, Now: gcpTestNow}); judged.Verdict == Allow {
			t.Errorf("allowed without %s", name)
		}
	}
	// What else the issuer signs: the organisation's audit log.
	audit := Claims{"iss": oidc.OrgIssuer(j.Org), "aud": j.Audience, "sub": "org/" + j.Org + "/file-streaming/audit-logs"}
	if judged := p.Check(GCPRequest{Claims: audit}); judged.Verdict != Deny {
		t.Errorf("the audit log: %s", judged.Verdict)
	}
}

// gcpUnHCL reads one of Terraform's texts.
func gcpUnHCL(t *testing.T, s string) string {
	t.Helper()
	u, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return strings.NewReplacer("$${", "${", "%%{", "%{").Replace(u)
}

// gcpFromTerraform makes of the file what Terraform would show of it, and has
// Terraform look at the form.
func gcpFromTerraform(t *testing.T, b []byte) *GCPProvider {
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
		return gcpUnHCL(t, string(m[0][1]))
	}
	// The parts without an escape sequence of Terraform's are its own templates.
	if free := regexp.MustCompile(`[^$]\$\{[^}]*\}`).FindAll(b, -1); len(free) != 1 {
		t.Errorf("templates: %q", free)
	}
	pool := "projects/" + value("project") + gcpPoolPath + value("workload_identity_pool_id")
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
		"iamPolicy": map[string]any{"bindings": []any{gcpGrant(value("role"), strings.Replace(value("member"), "${google_iam_workload_identity_pool.circleci.name}", pool, 1))}},
	}
	if value("service_account_id") != "projects/my-project/serviceAccounts/deploy@my-project.iam.gserviceaccount.com" {
		t.Errorf("the account is %q", value("service_account_id"))
	}
	p, err := ParseGCP(gcpMarshal(t, doc))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// gcpFromScript runs the script with a gcloud that notes its arguments.
func gcpFromScript(t *testing.T, b []byte) *GCPProvider {
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
	p, err := ParseGCP(gcpMarshal(t, map[string]any{
		"provider": map[string]any{"name": calls[2][4], "attributeMapping": mapping, "attributeCondition": flags["--attribute-condition"],
			"oidc": map[string]any{"issuerUri": flags["--issuer-uri"], "allowedAudiences": audiences}},
		"iamPolicy": map[string]any{"bindings": []any{gcpGrant(flags["--role"], flags["--member"])}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The real gcloud reads the script's arguments as they are meant.
func TestGCPScriptWithGcloud(t *testing.T) {
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
	s := gcpSetup(Job{VCSOrigin: oidc.SampleOrigin, VCSRef: "refs/heads/main", Audience: "a,b c"})
	run := exec.Command("sh", "-s")
	run.Stdin = bytes.NewReader(gcpWrite(t, s, "cli").Text)
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
	provider["name"] = gcpTestName
	policy, _ := sent["/v1/projects/my-project/serviceAccounts/deploy@my-project.iam.gserviceaccount.com:setIamPolicy"]["policy"].(map[string]any)
	p, err := ParseGCP(gcpMarshal(t, map[string]any{"provider": provider, "iamPolicy": policy}))
	if err != nil {
		t.Fatal(err)
	}
	settled, err := s.Settle()
	if err != nil {
		t.Fatal(err)
	}
	gcpAdmitsOnly(t, p, settled)
}

func TestGCPSetupErrors(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*GCPSetup)
		want   string
	}{
		{"no org", func(s *GCPSetup) { s.Org = "" }, "--org is missing"},
		{"project", func(s *GCPSetup) { s.Project = "my-org/app" }, `--project "my-org/app" is not a UUID`},
		{"ref without origin", func(s *GCPSetup) { s.VCSRef = "refs/heads/main" }, "--vcs-ref needs --vcs-origin"},
		{"no number", func(s *GCPSetup) { s.ProjectNumber = "" }, "--project-number is missing"},
		{"id for number", func(s *GCPSetup) { s.ProjectNumber = "my-project" }, `--project-number "my-project" is not of the form`},
		{"exponent", func(s *GCPSetup) { s.ProjectNumber = "1.23457e+11" }, "--project-number"},
		{"pool", func(s *GCPSetup) { s.PoolID = "CircleCI" }, `--pool-id "CircleCI" is not of the form`},
		{"short pool", func(s *GCPSetup) { s.PoolID = "ci" }, "--pool-id"},
		{"long provider", func(s *GCPSetup) { s.ProviderID = strings.Repeat("a", 33) }, "--provider-id"},
		{"no provider", func(s *GCPSetup) { s.ProviderID = "" }, "--provider-id is missing"},
		{"reserved", func(s *GCPSetup) { s.PoolID = "gcp-circleci" }, "which Google keeps for itself"},
		{"no account", func(s *GCPSetup) { s.ServiceAccount = "" }, "--service-account is missing"},
		{"account", func(s *GCPSetup) { s.ServiceAccount = "me@example.com" }, "--service-account"},
		{"account with more", func(s *GCPSetup) { s.ServiceAccount = "a@b.iam.gserviceaccount.com\nx" }, "--service-account"},
		{"account with a template", func(s *GCPSetup) { s.ServiceAccount = "${x}@b.iam.gserviceaccount.com" }, "--service-account"},
		{"long audience", func(s *GCPSetup) { s.Audience = strings.Repeat("a", 257) }, "--audience has 257 characters, and Google takes 256"},
		{"line in the audience", func(s *GCPSetup) { s.Audience = "a\nb" }, "characters that do not print"},
	} {
		s := gcpSetup(Job{})
		row.change(&s)
		if out, err := s.Write("cli"); err == nil || !strings.Contains(err.Error(), row.want) || fault.KindOf(err) != fault.Usage || out.Text != nil {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
	if _, err := gcpSetup(Job{}).Write("cloudformation"); err == nil || fault.KindOf(err) != fault.Usage || !strings.Contains(fault.Hints(err)[0], "json, terraform, cli") {
		t.Error(err)
	}
}

func TestGCPSetupNotes(t *testing.T) {
	for _, row := range []struct {
		job         Job
		format      string
		has, hasNot string
	}{
		{Job{}, "cli", "the builds of forks get in", "webhook"},
		{Job{VCSOrigin: oidc.SampleOrigin}, "cli", "every branch of the repository gets in", "forks"},
		{Job{VCSOrigin: oidc.SampleOrigin, VCSRef: "refs/heads/main"}, "terraform", "unversioned configuration", "forks"},
		{Job{}, "json", "set-iam-policy replaces the whole policy", ""},
		{Job{}, "terraform", "up to five minutes", "set-iam-policy"},
		{Job{}, "terraform", "iamcredentials.googleapis.com", ""},
		{Job{}, "terraform", "keep the pool for this provider", ""},
	} {
		all := strings.Join(gcpWrite(t, gcpSetup(row.job), row.format).Notes, "\n")
		if !strings.Contains(all, row.has) || row.hasNot != "" && strings.Contains(all, row.hasNot) {
			t.Errorf("%+v in\n%s", row, all)
		}
	}
}

// The accounts of other kinds of project have their project's id elsewhere.
func TestGCPSetupAccounts(t *testing.T) {
	for account, want := range map[string]string{
		"deploy@my-project.iam.gserviceaccount.com":             "projects/my-project/serviceAccounts/deploy@my-project.iam.gserviceaccount.com",
		"123456789012-compute@developer.gserviceaccount.com":    "projects/-/serviceAccounts/123456789012-compute@developer.gserviceaccount.com",
		"my-project@appspot.gserviceaccount.com":                "projects/-/serviceAccounts/my-project@appspot.gserviceaccount.com",
		"deploy@my-project.example.com.iam.gserviceaccount.com": "projects/-/serviceAccounts/deploy@my-project.example.com.iam.gserviceaccount.com",
	} {
		s := gcpSetup(Job{})
		s.ServiceAccount = account
		for _, format := range []string{"terraform", "cli"} {
			if text := string(gcpWrite(t, s, format).Text); !strings.Contains(text, want) {
				t.Errorf("%s: no %s in\n%s", format, want, text)
			}
		}
	}
}

func ExampleGCPSetup() {
	s := GCPSetup{Job: Job{Org: oidc.SampleOrg, Project: oidc.SampleProject, VCSOrigin: "github.com/my-org/app", VCSRef: "refs/heads/main"},
		ProjectNumber: "123456789012", PoolID: "circleci", ProviderID: "deploy", ServiceAccount: "deploy@my-project.iam.gserviceaccount.com"}
	out, err := s.Write("json")
	if err != nil {
		panic(err)
	}
	p, err := ParseGCP(out.Text)
	if err != nil {
		panic(err)
	}
	_, fork := ClaimsOf(oidc.Variant{Fork: true}, time.Unix(1763071432, 0))
	fmt.Println(p.Check(GCPRequest{Claims: fork}).Verdict)
	// Output: deny
}

func gcpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
