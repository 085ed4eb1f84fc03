package sandbox

import (
	"maps"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
)

// What the job's environment and every token of the sandbox have in common.
const (
	jobID      = ci.SampleJob
	pipelineID = ci.SamplePipeline
	workflowID = ci.SampleWorkflow
	commit     = "3f786850e387550fdab836ed7e6dc881de23001b"

	rootIssuer = ci.RootIssuer

	// claimPrefix leads every claim that is CircleCI's own.
	claimPrefix = "oidc.circleci.com/"
)

// Variant is what a job's token says.
type Variant = ci.Variant

// minted is the variant of a token that the job asks for while it runs: of the
// same job, but fresh, and for the audience and issuer asked for.
func minted(v Variant, audience string, root bool) Variant {
	v.Expired, v.RootIssuer = false, root
	v.Claims = maps.Clone(v.Claims)
	for _, name := range []string{"iss", "iat", "exp", "nbf"} {
		delete(v.Claims, name)
	}
	if audience != "" {
		v.Audience = audience
		delete(v.Claims, "aud")
	}
	return v
}
