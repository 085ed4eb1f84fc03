package iam

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// setups are all shapes of a job.
func setups() map[string]Setup {
	with := func(j policy.Job) Setup {
		j.Org, j.Project = ci.SampleOrg, ci.SampleProject
		return Setup{Job: j, AccountID: "111122223333", RoleName: "deploy"}
	}
	return map[string]Setup{
		"project":             with(policy.Job{}),
		"project, audience":   with(policy.Job{Audience: "https://vault.example.com/a%20b"}),
		"repository":          with(policy.Job{VCSOrigin: "github.com/my-org/app"}),
		"branch":              with(policy.Job{VCSOrigin: "github.com/my-org/app", VCSRef: "refs/heads/main"}),
		"branch with slashes": with(policy.Job{VCSOrigin: "gitlab.com/my-group/sub/app", VCSRef: "refs/heads/release/1.x", Audience: "sts.amazonaws.com"}),
		"branch of templates": with(policy.Job{VCSOrigin: "github.com/my-org/app", VCSRef: "refs/heads/%{if-true}-{{x}}-%s"}),
		"several projects":    several(with(policy.Job{}), false, ci.SampleProject, "11111111-1111-4111-8111-111111111111"),
		"each its repository": several(with(policy.Job{VCSRef: "refs/heads/main"}), true, ci.SampleProject, "11111111-1111-4111-8111-111111111111"),
		"existing provider":   existing(with(policy.Job{VCSOrigin: "github.com/my-org/app"})),
		"tag":                 with(policy.Job{VCSOrigin: "bitbucket.org/my-org/app", VCSRef: "refs/tags/v1.2.3"}),
	}
}

// several admits more projects, each with its own repository if that is wanted.
func several(s Setup, origins bool, projects ...string) Setup {
	s.Projects = projects
	if origins {
		s.VCSOrigin = "github.com/my-org/app"
		for i := range projects {
			s.Origins = append(s.Origins, "github.com/my-org/app"+strings.Repeat("2", i))
		}
	}
	return s
}

func existing(s Setup) Setup {
	s.ExistingProvider = true
	return s
}

func written(t *testing.T, s Setup, format string) (text string, notes string) {
	t.Helper()
	out, err := s.Write(format)
	if err != nil {
		t.Fatal(err)
	}
	return string(out.Text), strings.Join(out.Notes, "\n")
}

// What is written has no findings, lets in the token that it was made for, and
// nobody else that AWS can tell apart.
func TestNew(t *testing.T) {
	for name, s := range setups() {
		text, _ := written(t, s, "json")
		p, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if all := p.Lint(now()); len(all) > 0 {
			t.Errorf("%s: %s", name, listed(all))
		}
		job, err := s.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		own := job.Variant()
		repository, ref := s.VCSOrigin != "", s.VCSRef != ""
		change := func(f func(*ci.Variant)) ci.Variant {
			v := own
			f(&v)
			return v
		}
		for _, row := range []struct {
			who    string
			v      ci.Variant
			v1, v2 bool // let in
		}{
			{"own", own, !repository, true},
			{"own, by somebody else", change(func(v *ci.Variant) { v.User = otherProject }), !repository, true},
			{"own, with somebody logged in", change(func(v *ci.Variant) { v.SSHRerun = true }), !repository, true},
			{"fork", change(func(v *ci.Variant) { v.Fork, v.Branch, v.Tag = true, "", "" }), !repository, !repository},
			{"fork's branch of that name", change(func(v *ci.Variant) { v.Fork = true }), !repository, !repository},
			{"webhook", change(func(v *ci.Variant) { v.Webhook = true }), !repository, !repository},
			{"other branch", change(func(v *ci.Variant) { v.Branch, v.Tag = "other", "" }), !repository, !ref},
			{"longer branch", change(func(v *ci.Variant) { v.Branch = own.BuiltBranch() + "-evil" }), !repository, !ref || own.Tag != ""},
			{"tag", change(func(v *ci.Variant) { v.Tag = "other" }), !repository, !ref},
			{"other repository", change(func(v *ci.Variant) { v.Origin = "github.com/my-org/app2" }), !repository, !repository},
			{"other project", change(func(v *ci.Variant) { v.Project = otherProject }), false, false},
			{"other organisation", change(func(v *ci.Variant) { v.Org = otherOrg }), false, false},
			{"root issuer", change(func(v *ci.Variant) { v.RootIssuer = true }), false, false},
			{"other audience", change(func(v *ci.Variant) { v.Audience = "other" }), false, false},
			{"crafted branch", change(func(v *ci.Variant) {
				v.Origin, v.Branch, v.Tag = "github.com/stranger/app", "x/vcs-origin/"+job.VCSOrigin+"/vcs-ref/"+job.VCSRef, ""
			}), !repository, !repository},
			{"own crafted branch", change(func(v *ci.Variant) { v.Branch, v.Tag = "x/vcs-ref/"+job.VCSRef, "" }), !repository, !ref},
		} {
			v1, v2 := policy.ClaimsOf(row.v, now())
			for version, c := range map[string]policy.Claims{"V1": v1, "V2": v2} {
				want := policy.Deny
				if version == "V1" && row.v1 || version == "V2" && row.v2 {
					want = policy.Allow
				}
				if j := p.Check(Request{Claims: c, Now: now()}); j.Verdict != want {
					t.Errorf("%s, %s, %s: %s, want %s: %s", name, row.who, version, j.Verdict, want, j.Reason)
				}
			}
		}
	}
}

func TestNewNotes(t *testing.T) {
	setups := setups()
	for _, row := range []struct{ name, format, want string }{
		{"project", "json", "a fork's pull request too"},
		{"project", "json", "needs the OpenID Connect provider https://oidc.circleci.com/org/" + ci.SampleOrg},
		{"project, audience", "cli", "has to be minted"},
		{"repository", "cli", "every branch and tag of the repository gets in"},
		{"branch", "cli", "only V2 tokens ($CIRCLE_OIDC_TOKEN_V2) get in"},
		{"branch", "cli", "a custom webhook starts"},
		{"branch", "cli", "AWS sees neither ssh-rerun nor contexts"},
		{"branch", "cli", "unversioned configuration"},
		{"tag", "cli", "protect the tag"},
		{"branch", "terraform", "thumbprint_list"},
		{"branch", "cloudformation", "CAPABILITY_NAMED_IAM"},
	} {
		if _, notes := written(t, setups[row.name], row.format); !strings.Contains(notes, row.want) {
			t.Errorf("%s as %s: no %q in\n%s", row.name, row.format, row.want, notes)
		}
	}
}

func TestNewErrors(t *testing.T) {
	good := setups()["branch"]
	change := func(f func(*Setup)) Setup {
		s := good
		f(&s)
		return s
	}
	for _, row := range []struct {
		setup        Setup
		format, want string
	}{
		{good, "yaml", `unknown format "yaml"`},
		{change(func(s *Setup) { s.Org = "" }), "json", "--org is missing"},
		{change(func(s *Setup) { s.AccountID = "" }), "json", "--account-id is missing"},
		{change(func(s *Setup) { s.AccountID = "" }), "cli", "--account-id is missing"},
		{change(func(s *Setup) { s.AccountID = "1.11e+11" }), "terraform", "does not have 12 digits"},
		{change(func(s *Setup) { s.RoleName = "" }), "terraform", "--role-name is missing"},
		{change(func(s *Setup) { s.RoleName = "ci/deploy" }), "cli", "is not the name of a role"},
		{change(func(s *Setup) { s.RoleName = strings.Repeat("x", 65) }), "cli", "is not the name of a role"},
		{change(func(s *Setup) { s.Partition = "AWS" }), "cli", "is not a partition"},
		{change(func(s *Setup) { s.Audience = "a*" }), "cli", "cannot be written in a trust policy"},
		{change(func(s *Setup) { s.Audience = "${x}" }), "cli", "cannot be written in a trust policy"},
		{change(func(s *Setup) { s.Audience = "a\nb" }), "cli", "cannot be written in a trust policy"},
		{change(func(s *Setup) { s.VCSRef = "refs/heads/日本" }), "json", "cannot be written in a trust policy"},
		{change(func(s *Setup) { s.VCSRef = "refs/heads/*" }), "json", "--vcs-ref"},
	} {
		out, err := row.setup.Write(row.format)
		if err == nil || fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), row.want) || out.Text != nil {
			t.Errorf("%v, want %q", err, row.want)
		}
	}
	bare := change(func(s *Setup) { s.AccountID, s.RoleName, s.Partition = "", "", "" })
	bare.AccountID = "111122223333"
	if _, err := bare.Write("json"); err != nil {
		t.Errorf("a trust policy needs no name of a role: %v", err)
	}
	bare.AccountID, bare.RoleName = "", "deploy"
	for _, format := range []string{"terraform", "cloudformation"} {
		if _, err := bare.Write(format); err != nil {
			t.Errorf("%s needs no account: %v", format, err)
		}
	}
}

func TestPartitions(t *testing.T) {
	s := setups()["branch"]
	s.Partition = "aws-us-gov"
	text, _ := written(t, s, "json")
	if !strings.Contains(text, `"arn:aws-us-gov:iam::111122223333:oidc-provider/`) {
		t.Error(text)
	}
}

// Terraform finds nothing to format, and reads the same policy out of it that
// the json format has.
func TestTerraform(t *testing.T) {
	testenv.NeedFull(t, "starts Terraform")
	terraform := testenv.Program(t, "terraform")
	run := func(input string, args ...string) string {
		c := exec.Command(terraform, args...)
		c.Dir, c.Stdin = t.TempDir(), strings.NewReader(input)
		c.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE=")
		out, err := c.Output()
		if err != nil {
			t.Fatalf("terraform %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for name, s := range setups() {
		text, _ := written(t, s, "terraform")
		if changed := run(text, "fmt", "-check", "-diff", "-"); changed != "" {
			t.Errorf("%s: %s", name, changed)
		}
		_, policy, _ := strings.Cut(text, "assume_role_policy = ")
		policy, _, _ = strings.Cut(policy, "\n}\n")
		policy = strings.Replace(policy, "data.aws_", "aws_", 1)
		policy = strings.Replace(policy, "aws_iam_openid_connect_provider.circleci.arn", `"`+s.settledARN(t)+`"`, 1)
		quoted := strings.TrimSpace(run(strings.Join(strings.Fields(oneLine(policy)), " ")+"\n", "console"))
		var inner string
		if err := json.Unmarshal([]byte(quoted), &inner); err != nil {
			t.Fatalf("%s: %v in %s", name, err, quoted)
		}
		want, _ := written(t, s, "json")
		var got, expected any
		if json.Unmarshal([]byte(inner), &got) != nil || json.Unmarshal([]byte(want), &expected) != nil || !reflect.DeepEqual(got, expected) {
			t.Errorf("%s: terraform reads %s, want %s", name, inner, want)
		}
	}
}

func (s Setup) settledARN(t *testing.T) string {
	t.Helper()
	settled, err := s.settle("json")
	if err != nil {
		t.Fatal(err)
	}
	return settled.providerARN()
}

// oneLine puts commas where HCL has the ends of lines, for the console reads
// line by line.
func oneLine(s string) string {
	s = regexp.MustCompile(`([^{(\[,])\n`).ReplaceAllString(s, "$1,\n")
	return regexp.MustCompile(`,(\s*[)\]}])`).ReplaceAllString(strings.TrimRight(s, ",\n"), "$1")
}

func TestQuoting(t *testing.T) {
	if got := hCL("${a} %{b} \"c\" \\ \n"); got != `"$${a} %%{b} \"c\" \\ \n"` {
		t.Error(got)
	}
}

// moto takes the stack and the script, with the AWS CLI, and hands out the
// roles with the policy that the json format has.
func TestMoto(t *testing.T) {
	testenv.NeedFull(t, "starts moto and the AWS CLI")
	cli, sh := testenv.Program(t, "aws"), testenv.Program(t, "sh")
	url := startMoto(t, testenv.Program(t, "moto_server"))
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		c := exec.Command(name, args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+url, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_DEFAULT_REGION=eu-central-1",
			"AWS_CONFIG_FILE="+filepath.Join(dir, "none"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(dir, "none"), "AWS_PAGER=", "NO_PROXY=127.0.0.1")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	made := func(s Setup, role string) {
		t.Helper()
		p, err := Parse([]byte(run(cli, "iam", "get-role", "--role-name", role, "--output", "json")))
		if err != nil {
			t.Fatal(err)
		}
		_, own := policy.ClaimsOf(s.variantOf(t), now())
		_, fork := policy.ClaimsOf(ci.Variant{Fork: true, Audience: s.Audience}, now())
		if j := p.Check(Request{Claims: own}); j.Verdict != policy.Allow {
			t.Errorf("%s: %s", role, said(j))
		}
		if j := p.Check(Request{Claims: fork}); j.Verdict != policy.Deny {
			t.Errorf("%s, a fork: %s", role, said(j))
		}
	}
	s := setups()["branch"]
	s.Audience, s.AccountID, s.RoleName = "https://vault.example.com", "123456789012", "by-stack"
	text, _ := written(t, s, "cloudformation")
	for _, file := range []struct{ name, text string }{{"stack.json", text}, {"script", scriptOf(t, s, "by-script")}} {
		if err := os.WriteFile(filepath.Join(dir, file.name), []byte(file.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(cli, "cloudformation", "create-stack", "--stack-name", "trust", "--template-body", "file://stack.json", "--capabilities", "CAPABILITY_NAMED_IAM")
	made(s, "by-stack")
	run(sh, "script")
	made(s, "by-script")
	provider := run(cli, "iam", "get-open-id-connect-provider", "--open-id-connect-provider-arn", s.settledARN(t), "--output", "json")
	for _, want := range []string{`"Url": "` + providerName, `"https://vault.example.com"`} {
		if !strings.Contains(provider, want) {
			t.Errorf("no %s in %s", want, provider)
		}
	}
}

// The script's words are what it means, and where the provider exists it adds
// the audience. moto cannot do that, so the aws here only says how it is called.
func TestScript(t *testing.T) {
	sh := testenv.Program(t, "sh")
	dir := t.TempDir()
	const aws = "#!/bin/sh\n[ \"$2\" != get-open-id-connect-provider ] || exit \"$MISSING\"\nprintf '%s\\n' \"$@\" ----\n"
	if err := os.WriteFile(filepath.Join(dir, "aws"), []byte(aws), 0o700); err != nil {
		t.Fatal(err)
	}
	s := setups()["branch of templates"]
	s.Audience, s.RoleName = "https://vault.example.com", "a=b,c"
	policy, _ := written(t, s, "json")
	provider := s.settledARN(t)
	for missing, first := range map[string]string{
		"1": `create-open-id-connect-provider|--cli-input-json|{"ClientIDList":["https://vault.example.com"],"Url":"https://` + providerName + `"}`,
		"0": `add-client-id-to-open-id-connect-provider|--cli-input-json|{"ClientID":"https://vault.example.com","OpenIDConnectProviderArn":"` + provider + `"}`,
	} {
		c := exec.Command(sh, "-c", scriptOf(t, s, "a=b,c"))
		c.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "MISSING=" + missing}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		want := "iam\n" + strings.ReplaceAll(first, "|", "\n") + "\n----\niam\ncreate-role\n--role-name\na=b,c\n--assume-role-policy-document\n" + policy + "----\n"
		if string(out) != want {
			t.Errorf("%s\nwant %s", out, want)
		}
	}
}

func (s Setup) variantOf(t *testing.T) ci.Variant {
	t.Helper()
	j, err := s.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	return j.Variant()
}

func scriptOf(t *testing.T, s Setup, role string) string {
	t.Helper()
	s.RoleName = role
	text, _ := written(t, s, "cli")
	return text
}

// startMoto runs moto_server until the test is over.
func startMoto(t *testing.T, program string) string {
	t.Helper()
	c := exec.Command(program, "-H", "127.0.0.1", "-p", "0")
	c.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	said := make(chan string, 1)
	go func() {
		running := regexp.MustCompile(`Running on (http://127\.0\.0\.1:[0-9]+)`)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if found := running.FindStringSubmatch(lines.Text()); found != nil {
				said <- found[1]
				break
			}
		}
		close(said)
		_, _ = io.Copy(io.Discard, stderr)
	}()
	select {
	case url := <-said:
		if url == "" {
			t.Fatal("moto_server ended")
		}
		return url
	case <-time.After(90 * time.Second):
		t.Fatal("moto_server did not start")
	}
	return ""
}

func ExampleSetup_Write() {
	s := Setup{Job: policy.Job{Org: ci.SampleOrg, Project: ci.SampleProject, VCSOrigin: "github.com/my-org/app", VCSRef: "refs/heads/main"}, AccountID: "111122223333"}
	out, err := s.Write("json")
	if err != nil {
		panic(err)
	}
	fmt.Print(string(out.Text))
	// Output:
	// {
	//   "Version": "2012-10-17",
	//   "Statement": [
	//     {
	//       "Effect": "Allow",
	//       "Principal": {
	//         "Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com/org/2a3b4c5d-1111-4222-8333-444455556666"
	//       },
	//       "Action": "sts:AssumeRoleWithWebIdentity",
	//       "Condition": {
	//         "StringEquals": {
	//           "oidc.circleci.com/org/2a3b4c5d-1111-4222-8333-444455556666:aud": "2a3b4c5d-1111-4222-8333-444455556666",
	//           "oidc.circleci.com/org/2a3b4c5d-1111-4222-8333-444455556666:oidc.circleci.com/project-id": "76543210-ba98-4edc-b210-edcba0987654"
	//         },
	//         "StringLike": {
	//           "oidc.circleci.com/org/2a3b4c5d-1111-4222-8333-444455556666:sub": "org/2a3b4c5d-1111-4222-8333-444455556666/project/76543210-ba98-4edc-b210-edcba0987654/user/????????-????-????-????-????????????/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"
	//         }
	//       }
	//     }
	//   ]
	// }
}

// TestAWSNewOfMany: how projects and repositories go together, and how large a trust
// policy may be, in which IAM counts no white space.
func TestNewOfMany(t *testing.T) {
	s := Setup{Job: policy.Job{Org: ci.SampleOrg, Project: ci.SampleProject}, AccountID: "111122223333", RoleName: "deploy"}
	text, _ := written(t, several(s, true, ci.SampleProject, otherProject), "json")
	for _, want := range []string{
		"project/" + ci.SampleProject + "/user/" + mask + "/vcs-origin/github.com/my-org/app/vcs-ref/*",
		"project/" + otherProject + "/user/" + mask + "/vcs-origin/github.com/my-org/app2/vcs-ref/*",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if strings.Count(text, "/vcs-origin/") != 2 {
		t.Errorf("projects and repositories are mixed: %s", text)
	}
	terraform, notes := written(t, existing(several(s, true, ci.SampleProject, otherProject)), "terraform")
	for _, want := range []string{"data \"aws_iam_openid_connect_provider\" \"circleci\" {\n  url = ", "= data.aws_iam_openid_connect_provider.circleci.arn }"} {
		if !strings.Contains(terraform, want) || strings.Contains(terraform, "client_id_list") {
			t.Errorf("%s lacks %s", terraform, want)
		}
	}
	if !strings.Contains(notes, "the client ids of the account's provider") {
		t.Errorf("notes: %s", notes)
	}
	wrong := several(s, true, ci.SampleProject, otherProject)
	wrong.Projects = append(wrong.Projects, "11111111-1111-4111-8111-111111111111")
	if _, err := wrong.Write("json"); err == nil || !strings.Contains(err.Error(), "--project is given 3 times and --vcs-origin 2 times") {
		t.Errorf("%v", err)
	}
	for _, row := range []struct {
		projects    int
		note, error string
	}{{5, "", ""}, {12, "IAM takes 2048 unless the account's quota", ""}, {60, "", "more than the 8192 that IAM takes"}} {
		var projects []string
		for i := range row.projects {
			projects = append(projects, fmt.Sprintf("11111111-1111-4111-8111-%012d", i))
		}
		out, err := several(s, true, projects...).Write("json")
		size := len(strings.Join(strings.Fields(string(out.Text)), ""))
		notes := strings.Join(out.Notes, "\n")
		switch {
		case row.error != "":
			if err == nil || !strings.Contains(err.Error(), row.error) {
				t.Errorf("%d projects: %v", row.projects, err)
			}
		case err != nil || row.note == "" && strings.Contains(notes, "IAM takes") || row.note != "" && !strings.Contains(notes, fmt.Sprintf("the trust policy has %d characters: %s", size, row.note)):
			t.Errorf("%d projects, %d characters: %v, %s", row.projects, size, err, notes)
		}
	}
}
