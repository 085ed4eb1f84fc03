package aws

import (
	"context"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// AssumeRoleWith is AssumeRole for Options.SourceProfile: it trades another role's credentials,
// in the token's place, for those of the last role.
func (x *Exchange) AssumeRoleWith(ctx context.Context, c *remote.Client, with Credentials) (Credentials, error) {
	c, err := x.client(c)
	if err != nil {
		return Credentials{}, err
	}
	got := with
	for i := range x.roles {
		if got, err = x.chain(ctx, c, got, i); err != nil {
			return Credentials{}, err
		}
	}
	return got, nil
}

// Roles are the ARNs of the roles, in the order in which they are assumed.
func (x *Exchange) Roles() []string {
	arns := make([]string, len(x.roles))
	for i, r := range x.roles {
		arns[i] = r.arn
	}
	return arns
}
