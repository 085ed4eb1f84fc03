package policy_test

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
)

// trusted is a role's trust policy.
const trusted = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
	"Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com/org/` + ci.SampleOrg + `"},
	"Condition": {"StringEquals": {"oidc.circleci.com/org/` + ci.SampleOrg + `:aud": "` + ci.SampleOrg + `"}}}]}`

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// caseFiles is who reads the files that a fuzzed case file names.
func caseFiles(path string) ([]byte, error) {
	switch path {
	case "trust.json":
		return []byte(trusted), nil
	case "claims.json":
		return []byte(`{"sub": "org/o/project/p/user/u", "aud": "o"}`), nil
	}
	return nil, fault.New(fault.Local, "cannot read %q: %w", path, fs.ErrNotExist)
}

// TestCaseFileBombs: small files that would take gigabytes, or the whole stack.
func TestCaseFileBombs(t *testing.T) {
	const claims = "documents:\n- aws: trust.json\n  cases:\n  - expect: deny\n    token:\n      claims:\n"
	doubling := claims + "        a0: &a0 [x, x]\n"
	for i := 1; i <= 22; i++ {
		doubling += fmt.Sprintf("        a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	many := claims + "        a: &a [" + strings.Repeat("x, ", 900) + "x]\n"
	for i := range 40 {
		many += fmt.Sprintf("        b%d: *a\n", i)
	}
	for name, row := range map[string]struct{ text, want string }{
		"aliases that double":     {doubling, "the file's aliases (*) make it too large"},
		"a long list, many times": {many, "the file's aliases (*) make it too large"},
		"an alias of itself":      {claims + "        a: &a [*a]\n", ""},
		"brackets":                {"documents: " + strings.Repeat("[", 100_000), "line 1, column "},
		"braces":                  {strings.Repeat("{a: ", 60_000), "line 1, column "},
		"dashes":                  {strings.Repeat("- ", 100_000), "line 1, column "},
		"few dashes":              {strings.Repeat("- ", 1000), "line 1, column "},
		"lists of lists":          {claims + "        a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested too deep"},
		"a tag of nothing":        {"documents: ! 0", "line 1, column 12: the tag ! is not taken"},
		"a tag of text":           {"documents:\n- name: !!str x\n", "line 2, column 9: the tag !!str is not taken"},
		"question marks":          {strings.Repeat("? ", 1000), "line 1, column "},
		"bytes":                   {strings.Repeat("#", 256<<10+1), "more than the 262144 that are read"},
	} {
		_, err := policy.RunCases([]byte(row.text), caseFiles, noon, iam.Language(), wif.Language(), jwtrole.Language())
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || fault.KindOf(err) != fault.Usage) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}

// FuzzCaseFile: whatever the file, it is run or refused, and a refusal says where.
func FuzzCaseFile(f *testing.F) {
	for _, s := range []string{
		"documents:\n  - name: n\n    aws: trust.json\n    role-arn: arn:aws:iam::111122223333:role/deploy\n    cases:\n      - expect: allow\n        token: {version: v2, branch: main}\n        reason: sub\n",
		"documents: [{aws: trust.json, cases: [{expect: deny, token: {claims-file: claims.json}}, {expect: undecided, token: &t {claims: {a: [1, 1.5, null, {b: .nan}]}}}, {expect: deny, token: *t}]}]",
		"documents:\n- aws: trust.json\n  cases:\n  - &a {expect: deny}\n  - <<: *a\n    name: !!str x\n", "documents: [{gcp: x, iam-policy: y}]", "- ? [a, {b: c}]\n: &x *x\n",
		"%YAML 1.2\n---\ndocuments:\n---\n", "documents:\n- vault: |\n   x\n  config: >-\n   y\n", "\ufeff0\r0\r#\r\n0",
	} {
		f.Add([]byte(s))
	}
	place := regexp.MustCompile(`^(?:line [1-9][0-9]*, column [0-9]+: |document [1-9][0-9]*(?:, case [1-9][0-9]*)?: |not YAML of a case file$|the file)`)
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := policy.RunCases(b, caseFiles, noon, iam.Language(), wif.Language(), jwtrole.Language())
		if err != nil {
			if k := fault.KindOf(err); k != fault.Usage && k != fault.Local || !place.MatchString(err.Error()) {
				t.Fatalf("kind %d: %v", k, err)
			}
			return
		}
		if _, err := policy.JUnit(all); err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			if r.Failure == "" && r.Want != r.Got {
				t.Fatalf("%+v passes", r)
			}
		}
	})
}
