package vault_test

import (
	"github.com/oidc-broker/oidc-broker/testdata/testsandbox"

	"context"
	"fmt"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

func ExampleNewClient() {
	ctx := context.Background()
	getenv, stop := testsandbox.Start(ctx) // a job has os.Getenv, which is the default
	defer stop()

	client, err := vault.NewClient(ci.Finder{Getenv: getenv}, vault.ClientOptions{
		Addr: getenv("VAULT_ADDR"),
		Role: "deploy",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := client.Token(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Revoke(ctx, token) }()
	fmt.Println(token.Renewable, token.Reveal() != "") // api.Client.SetToken(token.Reveal())
	fmt.Printf("%+v\n", token.Policies)
	// Output:
	// true true
	// [ci default]
}
