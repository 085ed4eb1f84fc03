package doctor

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A net answers for each host with a status, or with nothing (0). What is not
// there was not to be asked.
type net struct {
	t     *testing.T
	hosts map[string]int
	ahead time.Duration // of the servers' clocks

	mu    sync.Mutex
	asked []string
}

func (n *net) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.asked = append(n.asked, r.URL.Host+r.URL.Path)
	n.mu.Unlock()
	if r.Header.Get("Authorization") != "" || r.Header.Get("X-Vault-Token") != "" || r.URL.RawQuery != "" || r.Method != http.MethodGet {
		n.t.Errorf("more is sent than needed: %v", r)
	}
	status, there := n.hosts[r.URL.Host]
	switch {
	case !there:
		n.t.Errorf("%s is asked", r.URL.Host)
		return nil, errors.New("nobody")
	case status == 0:
		return nil, syscall.ECONNREFUSED
	}
	date := doctorNow.Add(n.ahead).Format(http.TimeFormat)
	return &http.Response{StatusCode: status, Header: http.Header{"Date": {date}}, Body: http.NoBody, Request: r}, nil
}

const (
	hostSTS    = "sts.eu-central-1.amazonaws.com"
	hostGSTS   = "sts.googleapis.com"
	hostGIAM   = "iamcredentials.googleapis.com"
	hostIssuer = "oidc.circleci.com"
	hostVault  = "vault.example.com"
	regionEnv  = "AWS_REGION=eu-central-1\n"
	roleEnv    = regionEnv + "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/x\n"
)

// on sets the net of a row.
func on(t *testing.T, ahead time.Duration, hosts map[string]int) func(*view) {
	return func(v *view) { v.Client.Transport = &net{t: t, hosts: hosts, ahead: ahead} }
}

func TestDoctorOnline(t *testing.T) {
	issuer := map[string]int{hostIssuer: 200, hostSTS: 302}
	visits(t, "online", []visit{
		{check: "online-issuer", name: "reached", env: withV1 + roleEnv, set: on(t, 0, issuer)},
		{check: "online-issuer", name: "no token, and no job", env: roleEnv, set: on(t, 0, map[string]int{hostSTS: 302})},
		{check: "online-issuer", name: "no token", env: jobEnv + roleEnv, set: on(t, 0, issuer)},
		{check: "online-issuer", name: "not reached", env: withV1 + roleEnv, set: on(t, 0, map[string]int{hostIssuer: 0, hostSTS: 302}), want: "warning the token's issuer: oidc.circleci.com cannot be reached: connection refused"},
		{check: "online-issuer", name: "no such organisation", env: withV1 + roleEnv, set: on(t, 0, map[string]int{hostIssuer: 404, hostSTS: 302}), want: "error answers 404 at oidc.circleci.com"},

		{check: "online-signature", name: "no token", env: roleEnv, set: on(t, 0, map[string]int{hostSTS: 302})},
		{check: "online-signature", name: "no keys", env: withV1 + roleEnv, set: on(t, 0, issuer), want: "error the issuer's configuration"},

		{check: "online-aws", name: "reached", env: roleEnv, set: on(t, 0, map[string]int{hostSTS: 302})},
		{check: "online-aws", name: "not reached", env: roleEnv, set: on(t, 0, map[string]int{hostSTS: 0}), want: "error AWS STS: " + hostSTS + " cannot be reached: connection refused"},
		{check: "online-aws", name: "perhaps not needed", env: regionEnv, set: on(t, 0, map[string]int{hostSTS: 0, hostGSTS: 404, hostGIAM: 404}), want: "note nothing here says that the job needs it"},
		{check: "online-aws", name: "not needed", env: adc, set: on(t, 0, map[string]int{hostGSTS: 404, hostGIAM: 404})},
		{check: "online-aws", name: "without a region", env: "AWS_PROFILE=x", set: on(t, 0, map[string]int{"sts.amazonaws.com": 302})},
		{check: "online-aws", name: "of its own endpoint", env: roleEnv + "AWS_ENDPOINT_URL_STS=http://127.0.0.1:4566", set: on(t, 0, map[string]int{"127.0.0.1:4566": 400})},
		{check: "online-aws", name: "a proxy's page is an answer", env: roleEnv, set: on(t, 0, map[string]int{hostSTS: 503})},

		{check: "online-google", name: "reached", env: adc, set: on(t, 0, map[string]int{hostGSTS: 404, hostGIAM: 404})},
		{check: "online-google", name: "one of them", env: adc, set: on(t, 0, map[string]int{hostGSTS: 404, hostGIAM: 0}), want: "error Google's IAM Credentials: iamcredentials.googleapis.com cannot be reached"},
		{check: "online-google", name: "not needed", env: roleEnv, set: on(t, 0, map[string]int{hostSTS: 302})},

		{check: "online-vault", name: "active", env: "VAULT_ADDR=https://vault.example.com", set: on(t, 0, map[string]int{hostVault: 200})},
		{check: "online-vault", name: "standby", env: "VAULT_ADDR=https://vault.example.com", set: on(t, 0, map[string]int{hostVault: 429})},
		{check: "online-vault", name: "none", env: roleEnv, set: on(t, 0, map[string]int{hostSTS: 302})},
		{check: "online-vault", name: "sealed", env: "VAULT_ADDR=https://vault.example.com", set: on(t, 0, map[string]int{hostVault: 503}), want: "error the Vault at vault.example.com is sealed"},
		{check: "online-vault", name: "no Vault", env: "VAULT_ADDR=https://vault.example.com", set: on(t, 0, map[string]int{hostVault: 404}), want: "error it answers as no Vault does"},
		{check: "online-vault", name: "not reached", env: "VAULT_ADDR=https://vault.example.com", set: on(t, 0, map[string]int{hostVault: 0}), want: "error the Vault: vault.example.com (VAULT_ADDR) cannot be reached"},

		{check: "online-clock", name: "agrees", env: roleEnv, set: on(t, 0, map[string]int{hostSTS: 302})},
		{check: "online-clock", name: "a little", env: roleEnv, set: on(t, time.Minute, map[string]int{hostSTS: 302})},
		{check: "online-clock", name: "nobody says", env: roleEnv, set: on(t, time.Hour, map[string]int{hostSTS: 0})},
		{check: "online-clock", name: "behind", env: roleEnv, set: on(t, 2*time.Minute, map[string]int{hostSTS: 302}), want: "warning this machine's clock is 2m0s behind that of " + hostSTS},
		{check: "online-clock", name: "ahead", env: roleEnv, set: on(t, -time.Hour, map[string]int{hostSTS: 302}), want: "error this machine's clock is 59m59s ahead of that of"},
	})
}

// TestOnlineKinds: a cloud that is not there is exit code 5, one that is sealed too;
// a clock is this machine's.
func TestOnlineKinds(t *testing.T) {
	for _, row := range []struct {
		check, env string
		status     int
		ahead      time.Duration
		want       fault.Kind
	}{
		{"online-aws", roleEnv, 0, 0, fault.Unavailable},
		{"online-vault", "VAULT_ADDR=https://vault.example.com", 503, 0, fault.Unavailable},
		{"online-clock", roleEnv, 302, time.Hour, fault.Local},
		{"online-aws", roleEnv, 302, 0, 0},
	} {
		v := visit{env: row.env, set: on(t, row.ahead, map[string]int{hostSTS: row.status, hostVault: row.status})}.view(t)
		if e := examine(v, only(t, row.check)); e.Kind != row.want {
			t.Errorf("%s: exit code %d, want %d", row.check, e.Kind, row.want)
		}
	}
}

// TestOnlineAsksOnce: each place is asked once, for all checks together, and the
// issuer where every cloud asks it.
func TestOnlineAsksOnce(t *testing.T) {
	n := &net{t: t, hosts: map[string]int{hostIssuer: 404, hostSTS: 302, hostGSTS: 404, hostGIAM: 404, hostVault: 200}}
	v := visit{env: withV1 + roleEnv + adc + "VAULT_ADDR=https://vault.example.com/"}.view(t)
	v.Client.Transport = n
	examine(v, groups(true, nil))
	want := []string{
		hostGIAM, hostIssuer + "/org/" + ci.SampleOrg + "/.well-known/openid-configuration", hostSTS, hostGSTS, hostVault + "/v1/sys/health",
	}
	if len(n.asked) != len(want) {
		t.Errorf("asked: %v", n.asked)
	}
	for _, w := range want {
		found := false
		for _, a := range n.asked {
			found = found || strings.TrimSuffix(a, "/") == w
		}
		if !found {
			t.Errorf("%s is not asked; asked: %v", w, n.asked)
		}
	}
}

// TestOnlineEnds: a server that never answers does not hold doctor up.
func TestOnlineEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	v := visit{env: roleEnv}.view(t)
	v.ctx = ctx
	v.Client.Transport = silent{}
	e := examine(v, only(t, "online-aws"))
	if e.Kind != fault.Unavailable || !strings.Contains(e.Findings[0].Message, "did not answer in time") {
		t.Errorf("%+v", e)
	}
}

type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
