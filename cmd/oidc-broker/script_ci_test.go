package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

const sandboxMintURL = "CIRCLE_OIDC_SANDBOX_URL"

// asCI makes the sandbox's tokens those of another CI system, and its clouds trust them.
func asCI(ts *testscript.TestScript, c *sandbox.Config, name string) {
	s := ci.Named(name)
	if s == nil || len(s.Samples) == 0 {
		ts.Fatalf("sandbox --ci %s: there is no sample of its tokens", name)
	}
	c.Token.Job, c.Token.Audience = s.Samples[0].Claims, "sts.amazonaws.com"
	if s.Audience != "" {
		c.Token.Audience = s.Audience
	}
	issuer, subject := s.Samples[0].Claims["iss"].(string), s.Samples[0].Claims["sub"].(string)
	host := strings.TrimPrefix(issuer, "https://")
	var err error
	c.TrustPolicy, err = iam.Parse(fmt.Appendf(nil, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
		"Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/%[1]s"}, "Action": "sts:AssumeRoleWithWebIdentity",
		"Condition": {"StringEquals": {"%[1]s:aud": %[3]q, "%[1]s:sub": %[2]q}}}]}`, host, subject, c.Token.Audience))
	ts.Check(err)
	c.GCPProvider, err = wif.Parse(fmt.Appendf(nil, `{"name": %q, "state": "ACTIVE", "oidc": {"issuerUri": %q, "allowedAudiences": [%q, %q]},
		"attributeMapping": {"google.subject": "assertion.sub"}, "attributeCondition": "assertion.sub == '%s'"}`,
		sandbox.DefaultGCPProvider, issuer, c.Token.Audience, "https://iam.googleapis.com/"+sandbox.DefaultGCPProvider, subject))
	ts.Check(err)
	forVault := "vault.example"
	if !s.Mints {
		forVault = c.Token.Audience // the only one that its job has
	}
	c.VaultRole, err = jwtrole.ParseRole(fmt.Appendf(nil, `{"role_type": "jwt", "user_claim": "sub", "bound_subject": %q,
		"bound_audiences": [%q], "token_policies": ["ci"]}`, subject, forVault))
	ts.Check(err)
}

// joinCI gives the script the environment of the CI system's job, and what mints there.
func joinCI(ts *testscript.TestScript, name, mintURL, token string) {
	if name == "" {
		return
	}
	for _, variable := range []string{"CIRCLECI", "CIRCLE_OIDC_TOKEN", "CIRCLE_OIDC_TOKEN_V2", "CIRCLE_WORKFLOW_JOB_ID"} {
		ts.Setenv(variable, "")
	}
	for _, v := range jobOf(ts, name, token) {
		variable, value, _ := strings.Cut(v, "=")
		ts.Setenv(variable, value)
	}
	switch name {
	case "azure-devops":
		ts.Setenv("SYSTEM_ACCESSTOKEN", "request-token")
		ts.Setenv("SYSTEM_OIDCREQUESTURI", requestEndpoint(ts, mintURL)+"/oidctoken")
	case "google":
		ts.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(requestEndpoint(ts, mintURL), "http://"))
	case "github":
		ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token")
		ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", requestEndpoint(ts, mintURL)+"/idtoken/1?api-version=2.0")
	case "buildkite":
		bin := ts.MkAbs("agent")
		ts.Check(os.MkdirAll(bin, 0o700))
		// It takes what the real one does: buildkite-agent oidc request-token --audience A.
		text := "#!/bin/sh\nset -e\n[ \"$1 $2\" = 'oidc request-token' ]\n" +
			"[ $# -eq 2 ] && exec oidc-broker sandbox circleci-run run oidc get\n" +
			"[ \"$3\" = --audience ]\nexec oidc-broker sandbox circleci-run run oidc get --claims \"{\\\"aud\\\":\\\"$4\\\"}\"\n"
		ts.Check(os.WriteFile(filepath.Join(bin, "buildkite-agent"), []byte(text), 0o700))
		ts.Setenv("PATH", bin+string(filepath.ListSeparator)+ts.Getenv("PATH"))
	}
}

// jobOf are the variables of a system's job, which has a token in one of them where its
// configuration declares it.
func jobOf(ts *testscript.TestScript, name, token string) []string {
	switch name {
	case "gitlab":
		return []string{"GITLAB_CI=true", "CI_SERVER_URL=https://gitlab.com", "AWS_ID_TOKEN=" + token}
	case "bitbucket":
		return []string{"BITBUCKET_BUILD_NUMBER=1", "BITBUCKET_STEP_OIDC_TOKEN=" + token}
	case "hcp-terraform":
		return []string{"TFC_RUN_ID=run-1", "TFC_WORKLOAD_IDENTITY_TOKEN_AWS=" + token}
	case "jenkins":
		return []string{"JENKINS_URL=https://jenkins.example.com/", "OIDC_BROKER_ID_TOKEN=" + token}
	case "kubernetes":
		file := ts.MkAbs("projected")
		ts.Check(os.WriteFile(file, []byte(token), 0o600))
		return []string{"AWS_WEB_IDENTITY_TOKEN_FILE=" + file}
	case "google":
		return []string{"BUILDER_OUTPUT=/builder/outputs"}
	case "azure-devops":
		return []string{"TF_BUILD=True"}
	case "github":
		return []string{"GITHUB_ACTIONS=true"}
	case "buildkite":
		return []string{"BUILDKITE=true"}
	}
	return []string{strings.ToUpper(name) + "_OIDC_TOKEN=" + token}
}

// requestEndpoint serves the endpoints of GitHub, Azure DevOps and Google's metadata server:
// it wants what each demands, and has the sandbox's issuer mint for the audience.
func requestEndpoint(ts *testscript.TestScript, mintURL string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		audience := r.URL.Query().Get("audience")
		field := "value"
		switch {
		case r.Header.Get("Metadata-Flavor") == "Google" && r.URL.Path == "/computeMetadata/v1/instance/service-accounts/default/identity":
			field = ""
			w.Header().Set("Metadata-Flavor", "Google")
		case r.Method == http.MethodPost && r.Header.Get("Authorization") == "Bearer request-token":
			field, audience = "oidcToken", "api://AzureADTokenExchange"
		case r.Header.Get("Authorization") != "bearer request-token" || r.URL.Query().Get("api-version") != "2.0":
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		ask, err := json.Marshal(map[string]string{"aud": audience})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		res, err := http.Post(mintURL, "application/json", bytes.NewReader(ask)) // #nosec G107 -- the sandbox's
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = res.Body.Close() }()
		var minted struct{ Token string }
		if err := json.NewDecoder(res.Body).Decode(&minted); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if field == "" {
			_, _ = w.Write([]byte(minted.Token))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"count": len(minted.Token), field: minted.Token})
	}))
	ts.Defer(server.Close)
	return server.URL
}
