package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	ownSubject = "org/2a3b4c5d-1111-4222-8333-444455556666/project/76543210-ba98-4edc-b210-edcba0987654/user/aaaa1111-bbbb-4222-8ccc-333344445555"
	gone       = "\x00gone"
)

// Each row compares all claims of both tokens with CircleCI's documented ones,
// in which only the claims named differ.
func TestVariants(t *testing.T) {
	for _, row := range []struct {
		name   string
		v      Variant
		change map[string]any // of both tokens
		v2     string         // the V2 subject's end
	}{
		{"branch main", Variant{}, nil, "/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"},
		{"a branch", Variant{Branch: "feature/x"}, map[string]any{"oidc.circleci.com/vcs-ref": "refs/heads/feature/x"},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/feature/x"},
		{"a tag wins", Variant{Branch: "x", Tag: "v1.2.3"}, map[string]any{"oidc.circleci.com/vcs-ref": "refs/tags/v1.2.3"},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/tags/v1.2.3"},
		{"a fork", Variant{Fork: true}, map[string]any{
			"oidc.circleci.com/vcs-origin": "github.com/stranger/app", "oidc.circleci.com/vcs-ref": "refs/heads/pull/123",
		}, "/vcs-origin/github.com/stranger/app/vcs-ref/refs/heads/pull/123"},
		{"a webhook", Variant{Webhook: true}, map[string]any{"oidc.circleci.com/vcs-origin": gone, "oidc.circleci.com/vcs-ref": gone}, ""},
		{"an SSH rerun", Variant{SSHRerun: true}, map[string]any{"oidc.circleci.com/ssh-rerun": true},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"},
		{"expired", Variant{Expired: true}, map[string]any{"iat": float64(at.Unix() - 7200), "exp": float64(at.Unix() - 3600)},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"},
		{"expired after its own ttl", Variant{Expired: true, TTL: 10 * time.Minute}, map[string]any{"iat": float64(at.Unix() - 4200), "exp": float64(at.Unix() - 3600)},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"},
		{"root issuer", Variant{RootIssuer: true}, map[string]any{"iss": "https://oidc.circleci.com"},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"},
		{"audience", Variant{Audience: "sts.amazonaws.com"}, map[string]any{"aud": "sts.amazonaws.com"},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"},
		{"ttl", Variant{TTL: 5 * time.Hour}, map[string]any{"exp": float64(at.Unix() + 18000)},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"},
		{"claims last", Variant{Audience: "x", Claims: map[string]json.RawMessage{
			"aud": json.RawMessage(`["a","b"]`), "oidc.circleci.com/context-ids": null(), "new": nil,
		}}, map[string]any{"aud": []any{"a", "b"}, "oidc.circleci.com/context-ids": nil, "new": nil},
			"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"},
	} {
		l := newLab(t, Config{})
		v1, v2, err := l.issuer.mint(row.v)
		if err != nil {
			t.Fatal(err)
		}
		want := documented(row.change)
		if diff := cmp.Diff(want, decode(t, v1)); diff != "" {
			t.Errorf("%s: V1: %s", row.name, diff)
		}
		want["sub"] = ownSubject + row.v2
		if diff := cmp.Diff(want, decode(t, v2)); diff != "" {
			t.Errorf("%s: V2: %s", row.name, diff)
		}
		for _, token := range []string{v1, v2} {
			header := decodePart(t, strings.Split(token, ".")[0])
			if diff := cmp.Diff(map[string]any{"alg": "RS256", "typ": "JWT", "kid": l.issuer.public.KeyID}, header); diff != "" {
				t.Errorf("%s: header: %s", row.name, diff)
			}
		}
	}
}

// documented are the claims of CircleCI's documentation, with the names and
// types that it gives them.
func documented(change map[string]any) map[string]any {
	c := map[string]any{
		"iss":                           "https://oidc.circleci.com/org/2a3b4c5d-1111-4222-8333-444455556666",
		"sub":                           ownSubject,
		"aud":                           "2a3b4c5d-1111-4222-8333-444455556666",
		"iat":                           float64(at.Unix()),
		"exp":                           float64(at.Unix() + 3600),
		"oidc.circleci.com/context-ids": []any{"0f0f0f0f-1212-4343-9494-565656565656"},
		"oidc.circleci.com/job-id":      "d1d1d1d1-2222-4333-8444-555566667777",
		"oidc.circleci.com/org-id":      "2a3b4c5d-1111-4222-8333-444455556666",
		"oidc.circleci.com/pipeline-definition-id": "5e5e5e5e-6666-5777-8888-999900001111",
		"oidc.circleci.com/pipeline-id":            "b2b2b2b2-3333-4444-8555-666677778888",
		"oidc.circleci.com/project-id":             "76543210-ba98-4edc-b210-edcba0987654",
		"oidc.circleci.com/ssh-rerun":              false,
		"oidc.circleci.com/vcs-origin":             "github.com/my-org/app",
		"oidc.circleci.com/vcs-ref":                "refs/heads/main",
		"oidc.circleci.com/workflow-id":            "c3c3c3c3-4444-4555-8666-777788889999",
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == gone })
	return c
}

func TestBadVariants(t *testing.T) {
	for _, row := range []struct {
		v    Variant
		want string
	}{
		{Variant{TTL: -time.Second}, "a token cannot live for -1s"},
		{Variant{Fork: true, Webhook: true}, "a token is of a fork or of a webhook, not both"},
		{Variant{Claims: map[string]json.RawMessage{"aud": json.RawMessage("vault")}}, `claim "aud" is not JSON`},
	} {
		_, _, err := newLab(t, Config{}).issuer.mint(row.v)
		if err == nil || err.Error() != row.want || fault.KindOf(err) != fault.Usage {
			t.Errorf("%+v: %v, want %q", row.v, err, row.want)
		}
	}
}

func TestMintedVariant(t *testing.T) {
	job := Variant{
		Branch: "b", Expired: true, RootIssuer: true, Audience: "job", TTL: time.Minute,
		Claims: map[string]json.RawMessage{"aud": null(), "exp": null(), "iat": null(), "nbf": null(), "iss": null(), "x": null()},
	}
	want := Variant{Branch: "b", Audience: "asked", TTL: time.Minute, Claims: map[string]json.RawMessage{"x": null()}}
	if diff := cmp.Diff(want, minted(job, "asked", false)); diff != "" {
		t.Error(diff)
	}
	want = Variant{Branch: "b", RootIssuer: true, Audience: "job", TTL: time.Minute, Claims: map[string]json.RawMessage{"aud": null(), "x": null()}}
	if diff := cmp.Diff(want, minted(job, "", true)); diff != "" {
		t.Error(diff)
	}
	if len(job.Claims) != 6 {
		t.Error("minting changed the job's own claims")
	}
}

func decode(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal(errors.New("not three parts"))
	}
	return decodePart(t, parts[1])
}

func decodePart(t *testing.T, part string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
