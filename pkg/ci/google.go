package ci

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// google is Google Cloud: the metadata server of Cloud Build, Compute Engine and GKE
// issues tokens of the service account. BUILDER_OUTPUT is Cloud Build's; elsewhere it has
// to be asked for with --ci google: a machine's identity is nobody's job.
func google() *System {
	s := &System{
		Name: "google", Title: "Google Cloud",
		Signs:    []string{"BUILDER_OUTPUT"},
		Issuer:   `https://accounts\.google\.com`,
		Example:  "https://accounts.google.com",
		Lifetime: "1h",
		Claims:   []Claim{{"azp", "text", ByPlatform}, {"email", "text", ByPlatform}, {"email_verified", "boolean", ByPlatform}},
		Reads: [][2]string{
			{"GCE_METADATA_HOST", "the metadata server, for --ci google"},
		},
		Samples: []Sample{
			{"account", map[string]any{"iss": "https://accounts.google.com", "sub": "104857600000000000001", "azp": "104857600000000000001",
				"email": "build@my-project.iam.gserviceaccount.com", "email_verified": true}},
		},
		Subject: Grammar{"{account}"},
		AWSKeys: []string{"google/organization_number"},
	}
	return minting(s, mintGoogle)
}

func mintGoogle(ctx context.Context, f Finder, audience string) (oidc.Token, error) {
	if audience == "" {
		return oidc.Token{}, fault.New(fault.Token, "Google's metadata server issues no token without an audience").
			Hint("give the one that the receiver expects with %s", fault.Option("audience"))
	}
	host := strings.TrimSpace(f.Getenv("GCE_METADATA_HOST"))
	if host == "" {
		host = "metadata.google.internal"
	}
	const source = "Google's metadata server"
	address := url.URL{
		Scheme: "http", Host: host, Path: "/computeMetadata/v1/instance/service-accounts/default/identity",
		RawQuery: url.Values{"audience": {audience}, "format": {"full"}}.Encode(),
	}
	c := f.Client()
	// Plain HTTP and no proxy, as it is the machine itself; nothing secret is sent.
	direct := *c
	direct.Transport = metadata{&http.Transport{Proxy: nil, DisableKeepAlives: true, ResponseHeaderTimeout: 10 * time.Second}, host}
	address.Host = "localhost" // what a client of plain HTTP may call; metadata puts the host back
	return endpoint{
		source:  source,
		request: remote.Request{URL: address.String(), Header: http.Header{"Metadata-Flavor": {"Google"}}},
		refused: []string{
			"the machine or build needs a service account; a Cloud Build's has to be one of your own, not the default one",
			"it needs the role Service Account OpenID Connect Identity Token Creator on itself",
		},
	}.ask(ctx, &direct)
}

// metadata sends requests to the metadata server, and takes no other server for it.
type metadata struct {
	transport http.RoundTripper
	host      string
}

func (m metadata) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host, r.Host = m.host, m.host
	res, err := m.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK && res.Header.Get("Metadata-Flavor") != "Google" {
		_ = res.Body.Close()
		res.StatusCode, res.Body = http.StatusNotFound, io.NopCloser(strings.NewReader(""))
	}
	return res, nil
}
