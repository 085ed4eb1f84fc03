package gcp_test

import (
	"github.com/oidc-broker/oidc-broker/testdata/testsandbox"

	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

func ExampleNewTokenSource() {
	ctx := context.Background()
	getenv, stop := testsandbox.Start(ctx) // a job has os.Getenv, which is the default
	defer stop()

	source, err := gcp.NewTokenSource(ctx, ci.Finder{Getenv: getenv}, gcp.TokenSourceOptions{
		Provider:       sandbox.DefaultGCPProvider,
		ServiceAccount: sandbox.DefaultGCPServiceAccount,
		Lifetime:       30 * time.Minute,

		STSEndpoint:            getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"), // of the sandbox
		IAMCredentialsEndpoint: getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := source.Token() // or oauth2.NewClient(ctx, source), or option.WithTokenSource(source)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.Type(), token.Valid(), time.Until(token.Expiry) <= 30*time.Minute)
	// Output: Bearer true true
}

// A refusal of Google's Security Token Service is an *oauth2.RetrieveError, one of
// Google's APIs a *googleapi.Error.
func ExampleNewTokenSource_refusal() {
	ctx := context.Background()
	getenv, stop := testsandbox.Start(ctx)
	defer stop()

	source, err := gcp.NewTokenSource(ctx, ci.Finder{Getenv: getenv}, gcp.TokenSourceOptions{
		Provider:    "projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/other",
		STSEndpoint: getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = source.Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		fmt.Println(refused.ErrorCode, refused.Response.StatusCode)
	}
	// Output: invalid_target 400
}
