package sandbox

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
)

const (
	// DefaultVaultRole is the role of Vault's JWT auth method that exists.
	DefaultVaultRole = "deploy"

	// VaultNamespace is the namespace that exists beside the root's. It has the
	// same role and engines of its own.
	VaultNamespace = "team-a"

	// jobPolicy is what the role's tokens may do.
	jobPolicy = "ci"

	// vaultMaxTTL is what a server allows and gives where nobody said less.
	vaultMaxTTL = 768 * time.Hour
)

// A vault is as much of a Vault server as a job uses: login by JWT, what is said
// and done of the own token, leases, response wrapping, and three engines to
// read from. One lock is around every request.
type vault struct {
	now     func() time.Time
	key     jose.JSONWebKey // of the issuer, as its published keys have it
	ledger  *ledger
	cluster string // its id
	// explainer is told why a login was refused.
	explainer explainer

	mu     sync.Mutex
	spaces map[string]*vaultSpace // by path: "" is the root's, "team-a/"
	tokens map[string]*vaultToken
	leases map[string]*vaultLease
}

// A vaultSpace is a namespace with what is mounted there.
type vaultSpace struct {
	path     string
	id       string        // behind the dot of its tokens; empty for the root's
	role     *jwtrole.Role // DefaultVaultRole
	config   *jwtrole.Config
	entities map[string]string // id by alias
	kv1      map[string]map[string]any
	kv2      map[string][]secretVersion
	mounts   map[string]string // the engines' accessors, by path
}

func newVault(c Config, key jose.JSONWebKey, l *ledger) (*vault, error) {
	config, role := c.VaultConfig, c.VaultRole
	if config == nil {
		pem, err := publicPEM(key)
		if err != nil {
			return nil, err
		}
		config = &jwtrole.Config{BoundIssuer: c.issuer(), JWTSupportedAlgs: []string{"RS256"}, JWTValidationPubkeys: []string{pem}}
	}
	if role == nil {
		var err error
		if role, err = defaultVaultRole(c.Token); err != nil {
			return nil, err
		}
	}
	v := &vault{
		now: c.Now, key: key, ledger: l, explainer: c.Explain, cluster: newUUID(),
		spaces: map[string]*vaultSpace{},
		tokens: map[string]*vaultToken{},
		leases: map[string]*vaultLease{},
	}
	for path, id := range map[string]string{"": "", VaultNamespace + "/": base62(5)} {
		s := &vaultSpace{
			path: path, id: id, config: config, role: role,
			entities: map[string]string{},
			mounts:   map[string]string{},
		}
		v.seed(s)
		v.spaces[path] = s
	}
	return v, nil
}

// publicPEM is a public key as Vault's configuration has it.
func publicPEM(key jose.JSONWebKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Key)
	if err != nil {
		return "", fault.New(fault.Internal, "cannot encode the issuer's key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// defaultVaultRole is what policy new writes for the sandbox's own project and
// repository: no fork gets in, and no job that somebody may be logged in to. A
// role cannot ask for a claim only where there is one, so that a webhook's
// token, which names no repository, is refused, too.
func defaultVaultRole(own Variant) (*jwtrole.Role, error) {
	set, err := jwtrole.Setup{
		Job:  policy.Job{Org: own.OrgID(), Project: own.ProjectID(), VCSOrigin: own.OwnOrigin()},
		Role: DefaultVaultRole, Policy: jobPolicy,
	}.Write("json")
	if err != nil {
		return nil, err
	}
	return jwtrole.ParseRole(set.Text)
}

func (v *vault) open(base string) (endpoint, map[string]string) {
	return v.serve, map[string]string{"VAULT_ADDR": base, "VAULT_ROLE": DefaultVaultRole}
}

// vaultShadows are the names that Vault's and OpenBao's clients read.
func vaultShadows() []string {
	all := []string{"VAULT_SERVER_URL"}
	for _, name := range []string{
		"ADDR", "AGENT_ADDR", "AUTH_METHOD", "AUTH_NAMESPACE", "AUTH_PATH", "AUTH_ROLE", "CACERT", "CACERT_BYTES", "CAPATH",
		"CLIENT_CERT", "CLIENT_CERT_BYTES", "CLIENT_KEY", "CLIENT_KEY_BYTES", "CLIENT_TIMEOUT", "DISABLE_REDIRECTS", "HEADERS",
		"HTTP_PROXY", "MAX_RETRIES", "MFA", "NAMESPACE", "PATH", "PROXY_ADDR", "RATE_LIMIT", "ROLE", "SKIP_VERIFY", "SRV_LOOKUP",
		"TLS_SERVER_NAME", "TOKEN", "TOKEN_FILE", "TOKEN_PATH", "WRAP_TTL",
	} {
		all = append(all, "VAULT_"+name, "BAO_"+name)
	}
	return all
}

func (v *vault) serve(w http.ResponseWriter, r *http.Request) string {
	w.Header().Set("Cache-Control", "no-store")
	if ns := r.Header.Get("X-Vault-Namespace"); ns != "" {
		w.Header().Set("X-Vault-Namespace", ns)
	}
	if clean, moved := cleanVaultPath(r); moved {
		// #nosec G710 -- a clean path names no host
		http.Redirect(w, r, clean, http.StatusTemporaryRedirect)
		return fmt.Sprintf("request: %d", http.StatusTemporaryRedirect)
	}
	q, err := readVaultRequest(r)
	if err != nil {
		return answerVault(w, q, nil, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	a, err := v.handle(q)
	return answerVault(w, q, a, err)
}

// handle is what every request goes through, in the server's order: the
// namespace, the wrapping token, the token and what it may do, the engine, and
// the wrapping of the answer.
func (v *vault) handle(q *vaultRequest) (*vaultAnswer, error) {
	if err := v.resolve(q); err != nil {
		return nil, err
	}
	if q.operation == vaultWrite && q.path != "" && q.path[len(q.path)-1] == '/' {
		return nil, vaultInvalid("cannot write to a path ending in '/'")
	}
	q.token = v.live(q.bearer)
	if err := v.checkWrapping(q); err != nil {
		return nil, err
	}
	route := v.find(q.path)
	if route != nil {
		q.route = route.name
	}
	if route == nil || !route.open {
		if err := v.authorize(q, route); err != nil {
			return nil, err
		}
	}
	run := route.run[q.operation]
	if run == nil {
		return nil, &vaultRefusal{status: http.StatusMethodNotAllowed, texts: []string{"unsupported operation"}}
	}
	a, err := run(q)
	if v.spend(q.token) && a != nil && a.leaseID != "" {
		return nil, vaultInvalid("Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.")
	}
	if err != nil || a == nil {
		return nil, err
	}
	return v.wrap(q, a)
}
