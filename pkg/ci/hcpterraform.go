package ci

// hcpTerraform is HCP Terraform and Terraform Enterprise: a token for each phase of a
// run, and each audience that the workspace declares.
func hcpTerraform() *System {
	s := &System{
		Name: "hcp-terraform", JobName: "TFC_WORKSPACE_NAME", Title: "HCP Terraform",
		Signs:     []string{"TFC_RUN_ID", "TFC_WORKLOAD_IDENTITY_TOKEN"},
		Job:       []string{"TFC_RUN_ID", "TFC_WORKSPACE_NAME", "TFC_PROJECT_NAME"},
		Variables: []string{"TFC_WORKLOAD_IDENTITY_TOKEN", "TFC_WORKLOAD_IDENTITY_TOKEN_*"},
		Issuer:    `https://app\.(?:eu\.)?terraform\.io`,
		Example:   "https://app.terraform.io",
		Lifetime:  "the phase's timeout",
		Claims: []Claim{
			{"terraform_organization_id", "text", ByPlatform}, {"terraform_organization_name", "text", ByPlatform},
			{"terraform_project_id", "text", ByPlatform}, {"terraform_project_name", "text", ByMember},
			{"terraform_workspace_id", "text", ByPlatform}, {"terraform_workspace_name", "text", ByMember}, {"terraform_full_workspace", "text", ByMember},
			{"terraform_run_id", "text", ByPlatform}, {"terraform_run_phase", "text", ByPlatform},
		},
		Key: "terraform_workspace_id",
		Samples: []Sample{
			{"apply", terraformSample("apply")}, {"plan", terraformSample("plan")},
		},
		Subject: Grammar{
			"organization:{organization}:project:{project}:workspace:{workspace}:run_phase:{run_phase}",
			"organization:{organization}:module:{module}:operation:{operation}",
		},
	}
	return declared(s, func(_ Finder, audience string) error {
		if audience == "" {
			audience = "AUDIENCE"
		}
		return s.unavailable(audience, "no TFC_WORKLOAD_IDENTITY_TOKEN is for it").
			Hint("set the environment variable TFC_WORKLOAD_IDENTITY_AUDIENCE=%s in the workspace", audience).
			Hint("for a further audience: TFC_WORKLOAD_IDENTITY_AUDIENCE_TAG makes TFC_WORKLOAD_IDENTITY_TOKEN_TAG, which is found by itself")
	})
}

func terraformSample(phase string) map[string]any {
	return map[string]any{
		"iss": "https://app.terraform.io", "sub": "organization:my-org:project:Default Project:workspace:app:run_phase:" + phase,
		"terraform_organization_id": "org-1", "terraform_organization_name": "my-org", "terraform_project_id": "prj-1", "terraform_project_name": "Default Project",
		"terraform_workspace_id": "ws-1", "terraform_workspace_name": "app", "terraform_full_workspace": "organization:my-org:project:Default Project:workspace:app",
		"terraform_run_id": "run-1", "terraform_run_phase": phase,
	}
}
