package ci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func claimsToken(more string) string {
	return compact(header, fmt.Sprintf(`{"iss":%q,"sub":"s","aud":"a","exp":%d%s}`, issuer, now().Add(time.Hour).Unix(), more))
}

// TestIdentity: who has another identity is another row; the times alone make none.
func TestIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(claimsToken(`,"in":"file"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	v1 := func(more string) map[string]string { return map[string]string{EnvV1: claimsToken(more)} }
	job := func(more ...string) map[string]string {
		env := map[string]string{"CIRCLE_WORKFLOW_JOB_ID": "job"}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	type row struct {
		name string
		f    Finder
		env  map[string]string
	}
	rows := []row{
		{"a token", Finder{}, v1("")},
		{"another job", Finder{}, v1(`,"oidc.circleci.com/job-id":"j"`)},
		{"another project", Finder{}, v1(`,"oidc.circleci.com/project-id":"p"`)},
		{"a rerun", Finder{}, v1(`,"oidc.circleci.com/ssh-rerun":true`)},
		{"a number", Finder{}, v1(`,"n":1`)},
		{"the same as text", Finder{}, v1(`,"n":"1"`)},
		{"another subject", Finder{}, map[string]string{EnvV1: tokenOf("other", time.Hour)}},
		{"another variable", Finder{Env: "MINE"}, map[string]string{"MINE": claimsToken("")}},
		{"a file", Finder{File: file}, nil},
		{"the other version", Finder{Version: "v2"}, v1("")},
		{"a guard", Finder{Guards: Guards{Claims: []string{"a=b"}}}, v1("")},
		{"two guards", Finder{Guards: Guards{Claims: []string{"a=b", "c=d"}}}, v1("")},
		{"ssh", Finder{Guards: Guards{RefuseSSHRerun: true}}, v1("")},
		{"validity", Finder{Guards: Guards{MinValidity: time.Minute}}, v1("")},
		{"to be minted", Finder{}, job()},
		{"for an audience", Finder{Audience: "a"}, job()},
		{"for another", Finder{Audience: "b"}, job()},
	}
	for _, name := range jobVariables() {
		rows = append(rows, row{"to be minted, other " + name, Finder{}, job(name, "other")})
	}
	identity := func(r row) []string {
		t.Helper()
		r.f.Now, r.f.Getenv = now, func(name string) string { return r.env[name] }
		id, err := r.f.Identity(t.Context())
		if err != nil || id == nil {
			t.Errorf("%s: %q, %v", r.name, id, err)
		}
		return id
	}
	seen := map[string]string{}
	for _, r := range rows {
		id := strings.Join(identity(r), "\x00")
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s have one identity", r.name, other)
		}
		seen[id] = r.name
	}
	for _, times := range []string{`,"iat":1,"nbf":1,"jti":"x"`, `,"iat":2,"jti":"y"`} {
		if diff := cmp.Diff(identity(rows[0]), identity(row{"times", Finder{}, v1(times)})); diff != "" {
			t.Errorf("times make another:\n%s", diff)
		}
	}
	expired := row{"expired", Finder{}, map[string]string{EnvV1: tokenOf("s", -time.Hour)}}
	valid := row{"valid", Finder{}, map[string]string{EnvV1: tokenOf("s", time.Hour)}}
	if diff := cmp.Diff(identity(valid), identity(expired)); diff != "" {
		t.Errorf("that it has expired makes another:\n%s", diff)
	}
}

// TestIdentityThatNobodyKnows: then there is none, and nothing was read or minted.
func TestIdentityThatNobodyKnows(t *testing.T) {
	for _, row := range []struct {
		name string
		f    Finder
		env  map[string]string
		kind fault.Kind // 0: no error
	}{
		{"standard input", Finder{File: "-"}, nil, 0},
		{"a device", Finder{File: os.DevNull}, nil, 0},
		{"no job", Finder{}, map[string]string{"CIRCLE_PROJECT_ID": "p"}, 0},
		{"no job, an audience", Finder{Audience: "a"}, map[string]string{EnvV1: tokenOf("s", time.Hour)}, 0},
		{"no token", Finder{}, map[string]string{EnvV1: "x"}, fault.Token},
		{"no file", Finder{File: filepath.Join(t.TempDir(), "none")}, nil, fault.Local},
		{"no options", Finder{Audience: "a", Env: "b"}, nil, fault.Usage},
	} {
		row.f.Now, row.f.Getenv = now, func(name string) string { return row.env[name] }
		id, err := row.f.Identity(t.Context())
		if id != nil || (err != nil) != (row.kind != 0) || err != nil && fault.KindOf(err) != row.kind {
			t.Errorf("%s: %q, %v", row.name, id, err)
		}
	}
}
