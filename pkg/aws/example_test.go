package aws_test

import (
	"github.com/oidc-broker/oidc-broker/testdata/testsandbox"

	"context"
	"errors"
	"fmt"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/ci"
)

func ExampleNewProvider() {
	ctx := context.Background()
	getenv, stop := testsandbox.Start(ctx) // a job has os.Getenv, which is the default
	defer stop()

	provider, err := aws.NewProvider(ci.Finder{Getenv: getenv}, "arn:aws:iam::111122223333:role/deploy", aws.ProviderOptions{
		SessionName: "release",
		Duration:    30 * time.Minute,
		Region:      "eu-west-1",
		Getenv:      getenv,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	credentials := awssdk.NewCredentialsCache(provider)
	client := sts.New(sts.Options{Region: "eu-west-1", Credentials: credentials, BaseEndpoint: awssdk.String(getenv("AWS_ENDPOINT_URL_STS"))})
	who, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*who.Arn)
	got, _ := credentials.Retrieve(ctx)
	fmt.Println(got.CanExpire, time.Until(got.Expires) > 29*time.Minute, time.Until(got.Expires) <= 30*time.Minute)
	// Output:
	// arn:aws:sts::111122223333:assumed-role/deploy/release
	// true true true
}

// A refusal has AWS's own code, and hints.
func ExampleNewProvider_refusal() {
	ctx := context.Background()
	getenv, stop := testsandbox.Start(ctx)
	defer stop()

	provider, err := aws.NewProvider(ci.Finder{Getenv: getenv}, "arn:aws:iam::111122223333:role/other", aws.ProviderOptions{Getenv: getenv})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = provider.Retrieve(ctx)
	var api smithy.APIError
	fmt.Println(errors.As(err, &api) && api.ErrorCode() == "AccessDenied")
	var broker interface {
		Status() int // the exit code of the command, as in docs/troubleshooting.md: 4 is a refusal
		Hints() []string
	}
	if errors.As(err, &broker) {
		fmt.Println(broker.Status(), broker.Hints()[0])
	}
	// Output:
	// true
	// 4 check that the role other exists in account 111122223333 and that its trust policy allows this token
}
