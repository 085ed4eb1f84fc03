package ci

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// azureDevOps is Azure Pipelines. Its tokens are for Entra's token exchange alone.
func azureDevOps() *System {
	s := &System{
		Name: "azure-devops", JobName: "SYSTEM_JOBNAME", Title: "Azure DevOps",
		Signs:    []string{"TF_BUILD=true"},
		Job:      []string{"SYSTEM_JOBID", "SYSTEM_PLANID", "SYSTEM_TEAMPROJECTID", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"},
		Audience: "api://AzureADTokenExchange",
		// Not SYSTEM_ACCESSTOKEN: git and the REST API take it, too.
		Requests: []string{"SYSTEM_OIDCREQUESTURI"},
		Mask:     "##vso[task.setsecret]{}",
		Issuer:   `https://vstoken\.dev\.azure\.com/[^/]+|https://app\.vstoken\.visualstudio\.com/[^/]+`,
		Example:  "https://vstoken.dev.azure.com/11111111-2222-4333-8444-555566667777",
		Lifetime: "10m",
		Reads: [][2]string{
			{"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "the service connection of the token in Azure DevOps"},
			{"SYSTEM_OIDCREQUESTURI, SYSTEM_ACCESSTOKEN", "where an Azure DevOps job requests its token"},
		},
		Samples: []Sample{
			{"main", map[string]any{"iss": "https://vstoken.dev.azure.com/11111111-2222-4333-8444-555566667777", "sub": "sc://my-org/my-project/deploy"}},
		},
		Subject: Grammar{"sc://{organization}/{project}/{connection}", "p://{organization}/{project}/{pipeline}"},
	}
	return minting(s, mintAzureDevOps)
}

func mintAzureDevOps(ctx context.Context, f Finder, _ string) (oidc.Token, error) {
	const variable = "SYSTEM_OIDCREQUESTURI"
	address, bearer := strings.TrimSpace(f.Getenv(variable)), strings.TrimSpace(f.Getenv("SYSTEM_ACCESSTOKEN"))
	switch {
	// What a step that maps it has where the pipeline has no such variable.
	case bearer == "" || strings.HasPrefix(bearer, "$("):
		return oidc.Token{}, fault.New(fault.Token, "no OpenID Connect token: SYSTEM_ACCESSTOKEN is not set in this Azure DevOps step").
			Hint("in the step: env: { SYSTEM_ACCESSTOKEN: $(System.AccessToken) }")
	case address == "":
		return oidc.Token{}, fault.New(fault.Token, "no OpenID Connect token: %s is not set in this Azure DevOps step", variable).
			Hint("agents of Azure DevOps Services set it; Azure DevOps Server issues no tokens")
	}
	query := "?api-version=7.1"
	if id := strings.TrimSpace(f.Getenv("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID")); id != "" {
		query += "&serviceConnectionId=" + url.QueryEscape(id)
	}
	return endpoint{
		source: variable, field: "oidcToken",
		request: remote.Request{Method: http.MethodPost, URL: address + query, Header: http.Header{
			"Authorization": {"Bearer " + bearer}, "Content-Type": {"application/json"}, "Accept": {"application/json"},
			// Else it answers with a redirect to a login page instead of 401.
			"X-TFS-FedAuthRedirect": {"Suppress"},
		}},
		refused: []string{"a task of the job must reference the service connection, whose id is in AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"},
	}.ask(ctx, f.Client())
}
