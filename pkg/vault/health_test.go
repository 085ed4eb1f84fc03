package vault

import (
	"net/http"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

type healthy struct{ url, token string }

func (h *healthy) RoundTrip(r *http.Request) (*http.Response, error) {
	h.url, h.token = r.URL.String(), r.Header.Get("X-Vault-Token")
	return &http.Response{StatusCode: 429, Header: http.Header{}, Body: http.NoBody}, nil
}

func TestServerReach(t *testing.T) {
	s, err := Options{Addr: "https://vault.example.com/base/v1/", Namespace: "team"}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	h := &healthy{}
	got, err := s.Probe(t.Context(), &remote.Client{Transport: h, Now: time.Now})
	if err != nil || got.Status != 429 || h.url != "https://vault.example.com/base/v1/sys/health" || h.token != "" {
		t.Errorf("%+v, %v, %+v", got, err, h)
	}
}

func TestHealthy(t *testing.T) {
	for status, ok := range map[int]bool{200: true, 429: true, 473: true, 472: false, 474: false, 501: false, 503: false, 530: false, 404: false} {
		if state, got := Healthy(status); got != ok || state == "" {
			t.Errorf("%d: %q, %v", status, state, got)
		}
	}
}
