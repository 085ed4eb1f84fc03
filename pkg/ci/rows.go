package ci

import "github.com/oidc-broker/oidc-broker/pkg/internal/fault"

// The systems that only set a variable, or write a file.

// kubernetes is a pod, or whatever else has a projected token: the file is read at each
// exchange, as it is replaced before it expires.
func kubernetes() *System {
	s := &System{
		Name: "kubernetes", Title: "Kubernetes",
		Signs:    []string{"AWS_WEB_IDENTITY_TOKEN_FILE"},
		Files:    []string{"AWS_WEB_IDENTITY_TOKEN_FILE"},
		Issuer:   `https://oidc\.eks\.[a-z0-9-]+\.amazonaws\.com/id/[A-Z0-9]+|https://container\.googleapis\.com/v1/projects/.+|https://[a-z0-9-]+\.oic\.prod-aks\.azure\.com/.+`,
		Example:  "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
		Lifetime: "1h",
		Claims:   []Claim{{"kubernetes.io", "object", ByPlatform}},
		Samples: []Sample{
			{"pod", map[string]any{"iss": "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF", "sub": "system:serviceaccount:ci:deploy",
				"kubernetes.io": map[string]any{"namespace": "ci", "serviceaccount": map[string]any{"name": "deploy"}}}},
		},
		Subject: Grammar{"system:serviceaccount:{namespace}:{serviceaccount}"},
	}
	return declared(s, func(_ Finder, audience string) error {
		// The pod's own token for the API server is never taken: it would hand the
		// cluster to whoever receives it.
		e := s.unavailable(audience, "AWS_WEB_IDENTITY_TOKEN_FILE names no token for it")
		if audience == "" {
			audience = "AUDIENCE"
		}
		return e.Hint("in the pod: volumes: [{ name: oidc, projected: { sources: [{ serviceAccountToken: { audience: %q, path: token } }] } }]", audience).
			Hint("mount it, and set AWS_WEB_IDENTITY_TOKEN_FILE to its path; or give the path with %s", fault.Option("token-file"))
	})
}

// jenkins is Jenkins with the plugin oidc-provider: a credential that withCredentials
// binds to any variable.
func jenkins() *System {
	s := &System{
		Name: "jenkins", JobName: "JOB_NAME", Title: "Jenkins",
		Signs: []string{"JENKINS_URL"},
		Job:   []string{"BUILD_URL", "JENKINS_URL", "BUILD_TAG"},
		// No file: on an agent in a pod, AWS_WEB_IDENTITY_TOKEN_FILE is the pod's.
		Variables: []string{"*_ID_TOKEN", "ID_TOKEN*", "*OIDC_TOKEN*"},
		Issuer:    `https://[^/]+(?:/.*)?/oidc`,
		Example:   "https://jenkins.example.com/oidc",
		Lifetime:  "1h",
		Claims:    []Claim{{"build_number", "number", ByPlatform}},
		Samples: []Sample{
			{"job", map[string]any{"iss": "https://jenkins.example.com/oidc", "sub": "https://jenkins.example.com/job/app/job/main/", "build_number": 1}},
		},
		Subject: Grammar{"{job}"},
	}
	return declared(s, func(_ Finder, audience string) error {
		return s.unavailable(audience, "no variable has one").
			Hint("with the plugin oidc-provider: withCredentials([string(credentialsId: 'ID', variable: 'OIDC_BROKER_ID_TOKEN')]) { ... }").
			Hint("the audience is a field of that credential; where it is bound as a file, give its path with %s", fault.Option("token-file"))
	})
}

func semaphore() *System {
	s := &System{
		Name: "semaphore", JobName: "SEMAPHORE_JOB_NAME", Title: "Semaphore",
		Signs:     []string{"SEMAPHORE=true", "SEMAPHORE_OIDC_TOKEN"},
		Job:       []string{"SEMAPHORE_JOB_ID", "SEMAPHORE_PROJECT_ID"},
		Variables: []string{"SEMAPHORE_OIDC_TOKEN"},
		Issuer:    `https://[a-z0-9-]+\.semaphoreci\.com`,
		Example:   "https://my-org.semaphoreci.com",
		Lifetime:  "24h",
		Claims: []Claim{
			{"org", "text", ByPlatform}, {"org_id", "text", ByPlatform}, {"prj", "text", ByPlatform}, {"prj_id", "text", ByPlatform},
			{"repo", "text", ByPlatform}, {"repo_slug", "text", ByPlatform}, {"ref", "text", ByAnyone}, {"ref_type", "text", ByPlatform},
			// Of a pull request it is the target's.
			{"branch", "text", ByAnyone}, {"pr_branch", "text", ByAnyone}, {"pr", "text", ByAnyone}, {"tag", "text", ByMember},
			{"job_type", "text", ByMember}, {"actor", "text", ByAnyone}, {"sub127", "text", ByPlatform},
		},
		Key: "prj_id",
		Samples: []Sample{
			{"main", semaphoreSample("branch", "refs/heads/main")}, {"tag", semaphoreSample("tag", "refs/tags/v1")}, {"pull-request", semaphoreSample("pull-request", "refs/pull/1/merge")},
		},
		Subject: Grammar{"org:{org}:project:{project}:repo:{repo}:ref_type:{ref_type}:ref:{ref}"},
	}
	return declared(s, s.one("SEMAPHORE_OIDC_TOKEN", "the organisation's plan has to include OpenID Connect"))
}

func spacelift() *System {
	s := &System{
		Name: "spacelift", Title: "Spacelift",
		Signs:     []string{"SPACELIFT_OIDC_TOKEN", "TF_VAR_spacelift_run_id"},
		Job:       []string{"TF_VAR_spacelift_run_id"},
		Variables: []string{"SPACELIFT_OIDC_TOKEN"},
		Issuer:    `https://[a-z0-9-]+\.app\.spacelift\.io`,
		Example:   "https://my-account.app.spacelift.io",
		Lifetime:  "1h",
		Claims: []Claim{
			{"spaceId", "text", ByPlatform}, {"callerType", "text", ByPlatform}, {"callerId", "text", ByPlatform}, {"runType", "text", ByAnyone},
			{"runId", "text", ByPlatform}, {"scope", "text", ByPlatform},
		},
		Samples: []Sample{
			{"apply", spaceliftSample("TRACKED", "write")}, {"pull-request", spaceliftSample("PROPOSED", "read")},
		},
		Subject: Grammar{"space:{space}:stack:{stack}:run_type:{run_type}:scope:{scope}", "space:{space}:module:{module}:run_type:{run_type}:scope:{scope}"},
		AWSKeys: nil,
	}
	return declared(s, s.one("SPACELIFT_OIDC_TOKEN", "the account's plan has to include OpenID Connect"))
}

func env0() *System {
	s := &System{
		Name: "env0", Title: "env zero",
		Signs:     []string{"ENV0_OIDC_TOKEN", "ENV0_ENVIRONMENT_ID"},
		Job:       []string{"ENV0_DEPLOYMENT_LOG_ID"},
		Variables: []string{"ENV0_OIDC_TOKEN"},
		Issuer:    `https://login\.app\.env0\.com/`,
		Example:   "https://login.app.env0.com/",
		Lifetime:  "24h",
		Samples: []Sample{
			{"deployment", map[string]any{"iss": "https://login.app.env0.com/", "sub": "auth0|62a3d7f3e5a1b2c3d4e5f601"}},
		},
		Subject: Grammar{"{organization}"},
	}
	return declared(s, s.one("ENV0_OIDC_TOKEN", "turn on OIDC in the organisation's policies, or add an OIDC credential"))
}

func vercel() *System {
	s := &System{
		Name: "vercel", Title: "Vercel",
		Signs:     []string{"VERCEL=1", "VERCEL_OIDC_TOKEN"},
		Job:       []string{"VERCEL_DEPLOYMENT_ID"},
		Variables: []string{"VERCEL_OIDC_TOKEN"},
		Issuer:    `https://oidc\.vercel\.com(?:/[^/]+)?`,
		Example:   "https://oidc.vercel.com/my-team",
		Lifetime:  "1h",
		Claims: []Claim{
			{"owner", "text", ByPlatform}, {"owner_id", "text", ByPlatform}, {"project", "text", ByMember}, {"project_id", "text", ByPlatform}, {"environment", "text", ByAnyone},
		},
		Key: "project_id",
		Samples: []Sample{
			{"production", vercelSample("production")}, {"preview", vercelSample("preview")},
		},
		Subject: Grammar{"owner:{owner}:project:{project}:environment:{environment}"},
	}
	return declared(s, s.one("VERCEL_OIDC_TOKEN", "turn on OpenID Connect federation in the project's settings, under Security"))
}

// one says why there is no token in the one variable that a system has.
func (s *System) one(variable, remedy string) func(Finder, string) error {
	return func(f Finder, audience string) error {
		if f.Getenv(variable) != "" {
			return s.unavailable(audience, variable+" is for another audience, and no other one can be had").
				Hint("leave --audience out, and let the receiver's trust name the audience that 'oidc-broker token' shows")
		}
		return s.unavailable("", variable+" is not set").Hint("%s", remedy)
	}
}

func semaphoreSample(kind, ref string) map[string]any {
	return map[string]any{
		"iss": "https://my-org.semaphoreci.com", "sub": "org:my-org:project:11111111-2222-4333-8444-555566667777:repo:app:ref_type:" + kind + ":ref:" + ref,
		"org": "my-org", "prj_id": "11111111-2222-4333-8444-555566667777", "repo": "app", "ref": ref, "ref_type": kind, "branch": "main", "job_type": "pipeline_job",
	}
}

func spaceliftSample(run, scope string) map[string]any {
	return map[string]any{
		"iss": "https://my-account.app.spacelift.io", "sub": "space:root:stack:app:run_type:" + run + ":scope:" + scope,
		"spaceId": "root", "callerType": "stack", "callerId": "app", "runType": run, "runId": "01HZX", "scope": scope,
	}
}

func vercelSample(environment string) map[string]any {
	return map[string]any{
		"iss": "https://oidc.vercel.com/my-team", "sub": "owner:my-team:project:app:environment:" + environment,
		"owner": "my-team", "owner_id": "team_1", "project": "app", "project_id": "prj_1", "environment": environment,
	}
}
