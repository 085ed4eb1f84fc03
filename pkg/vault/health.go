package vault

import (
	"context"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// Probe asks the server for its health, for which it wants no token. The states it
// answers with are in Healthy.
func (s *Server) Probe(ctx context.Context, c *remote.Client) (remote.Probed, error) {
	own, err := s.client(c)
	if err != nil {
		return remote.Probed{}, err
	}
	return own.Probe(ctx, s.Addr+"/v1/sys/health", s.header(""))
}

// Healthy says what a status of sys/health means (Vault's API documentation,
// "/sys/health"), and whether such a server takes logins.
func Healthy(status int) (state string, ok bool) {
	switch status {
	case 200:
		return "active", true
	case 429:
		return "a standby, which passes requests on", true
	case 472:
		return "a secondary for disaster recovery, which serves nobody", false
	case 473:
		return "a performance standby", true
	case 474:
		return "a standby that cannot reach the active node", false
	case 501:
		return "not initialised", false
	case 503:
		return "sealed", false
	case 530:
		return "removed from its cluster", false
	}
	return "not known: it answers as no Vault does", false
}
