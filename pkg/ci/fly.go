package ci

import (
	"context"
	"encoding/json"
	"net"
	"net/http"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// flySocket is where a machine asks for its tokens.
const flySocket = "/.fly/api"

// fly is Fly.io Machines.
func fly() *System {
	s := &System{
		Name: "fly", Title: "Fly.io",
		Signs:    []string{"FLY_MACHINE_ID"},
		Job:      []string{"FLY_MACHINE_ID", "FLY_APP_NAME", "FLY_MACHINE_VERSION"},
		Issuer:   `https://oidc\.fly\.io/[^/]+`,
		Example:  "https://oidc.fly.io/my-org",
		Lifetime: "10m",
		Claims: []Claim{
			{"app_id", "text", ByPlatform}, {"app_name", "text", ByPlatform}, {"org_id", "text", ByPlatform}, {"org_name", "text", ByPlatform},
			{"machine_id", "text", ByPlatform}, {"machine_name", "text", ByMember}, {"machine_version", "text", ByPlatform}, {"region", "text", ByMember},
			{"image", "text", ByMember}, {"image_digest", "text", ByMember},
		},
		Key: "app_id",
		Samples: []Sample{
			{"machine", map[string]any{"iss": "https://oidc.fly.io/my-org", "sub": "my-org:app:weathered-field-1234", "app_id": "1", "app_name": "app",
				"org_id": "2", "org_name": "my-org", "machine_id": "3d8d377c", "machine_name": "weathered-field-1234", "region": "ams"}},
		},
		Subject: Grammar{"{organization}:{app}:{machine}"},
	}
	return minting(s, func(ctx context.Context, f Finder, audience string) (oidc.Token, error) {
		return mintFly(ctx, f, audience, flySocket)
	})
}

func mintFly(ctx context.Context, f Finder, audience, socket string) (oidc.Token, error) {
	ask := map[string]string{}
	if audience != "" {
		ask["aud"] = audience
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return oidc.Token{}, fault.New(fault.Internal, "cannot write the request: %w", err)
	}
	local := *f.Client()
	local.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	return endpoint{
		source:  "Fly.io's socket " + socket,
		request: remote.Request{Method: http.MethodPost, URL: "http://localhost/v1/tokens/oidc", Header: http.Header{"Content-Type": {"application/json"}}, Body: body},
	}.ask(ctx, &local)
}
