package sandbox

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// A session is a role assumed, with the credentials that prove it.
type session struct {
	role      *role
	name      string
	keyID     string
	secretKey secret.Value
	token     secret.Value
	expires   time.Time
	tags      sessionTags
}

// arn names the session. The role's path is no part of it.
func (s *session) arn() string {
	return fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", s.role.partition, s.role.account, s.role.name, s.name)
}

func (s *session) userID() string { return s.role.id + ":" + s.name }

// sessions are the credentials that this sandbox issued, by access key id.
type sessions struct {
	mu     sync.Mutex
	byKey  map[string]*session
	ledger *ledger
}

func (s *sessions) issue(r *role, name string, expires time.Time) *session {
	made := &session{
		role:      r,
		name:      name,
		keyID:     "ASIA" + base32ID(16),
		secretKey: secret.New(newSecretKey()),
		token:     secret.New(newSessionToken()),
		expires:   expires,
	}
	s.mu.Lock()
	s.byKey[made.keyID] = made
	s.mu.Unlock()
	s.ledger.add(made.secretKey.Reveal(), made.token.Reveal())
	return made
}

// find returns nil for a key that was not issued here.
func (s *sessions) find(keyID string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byKey[keyID]
}

// base32ID returns n characters of AWS's alphabet for ids.
func base32ID(n int) string {
	return base32.StdEncoding.EncodeToString(random(n))[:n]
}

// newSecretKey returns 40 characters. Both / and + are always among them:
// those are what careless quoting and encoding break.
func newSecretKey() string {
	for {
		key := base64.StdEncoding.EncodeToString(random(30))
		if strings.Contains(key, "/") && strings.Contains(key, "+") {
			return key
		}
	}
}

// newSessionToken returns a token of AWS's usual length, with / and + in it
// and = at its end.
func newSessionToken() string {
	// The bytes give the beginning that real tokens have.
	lead := []byte("!\n\torigin_ec")
	for {
		token := base64.StdEncoding.EncodeToString(append(bytes.Clone(lead), random(631)...))
		if strings.Contains(token, "/") && strings.Contains(token, "+") && strings.HasSuffix(token, "=") {
			return token
		}
	}
}

func newUUID() string {
	b := random(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return b
}
