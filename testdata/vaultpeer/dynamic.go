package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// dynamicFactory makes an engine as those for databases are: creds/ROLE makes a
// user, by GET or by POST with a ttl. The leases of the role "fixed" cannot be
// renewed, as those of PKI cannot.
func dynamicFactory(ctx context.Context, c *logical.BackendConfig) (logical.Backend, error) {
	op := &framework.PathOperation{
		Callback:  makeUser,
		Responses: map[int][]framework.Response{http.StatusOK: {{Description: "OK"}}},
	}
	b := &framework.Backend{
		BackendType: logical.TypeLogical,
		Paths: []*framework.Path{{
			Pattern: "creds/" + framework.GenericNameRegex("role"),
			Fields: map[string]*framework.FieldSchema{
				"role": {Type: framework.TypeString},
				"ttl":  {Type: framework.TypeDurationSecond, Default: 3600},
			},
			Operations: map[logical.Operation]framework.OperationHandler{logical.ReadOperation: op, logical.UpdateOperation: op},
		}},
	}
	return b, b.Setup(ctx, c)
}

func makeUser(_ context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	role := d.Get("role").(string)
	return &logical.Response{
		Secret: &logical.Secret{LeaseOptions: logical.LeaseOptions{
			TTL: time.Duration(d.Get("ttl").(int)) * time.Second, MaxTTL: 24 * time.Hour, Renewable: role != "fixed",
		}},
		Data: map[string]any{"username": "v-" + role + "-" + rand.Text()[:8], "password": rand.Text()},
	}, nil
}
