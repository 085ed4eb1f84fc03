package aws

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

const (
	// endpointPath is not empty, for the Ruby SDK asks no URL without a path.
	endpointPath = "/credentials"
	// maxWait is how long an asker waits for a renewal. The SDKs wait for two
	// seconds or a little more, and ask again.
	maxWait = 30 * time.Second
	// maxConnections is how many connections are open at a time. The SDKs of a command
	// with a hundred threads need as many; another user of the machine, who can connect
	// too, takes no more files of this process than these.
	maxConnections = 128
	// unknownTime is how long a connection may be silent before its first request, or
	// between the parts of its header.
	unknownTime = 5 * time.Second
)

// An Endpoint is a container-credentials provider, as ECS and EKS have one: every
// SDK asks it for credentials, and again before they end. It listens on loopback
// and answers to who has its token.
type Endpoint struct {
	host  string // 127.0.0.1:PORT
	token secret.Value
	// get returns credentials that are valid, or why there are none.
	get func(context.Context) (Credentials, error)

	server  *http.Server
	serving sync.WaitGroup
}

// Serve starts an endpoint that hands out what get returns, until Close. Several
// at once may call get.
func Serve(ctx context.Context, get func(context.Context) (Credentials, error)) (*Endpoint, error) {
	// Not "localhost", which a file on this machine may send elsewhere, and not
	// every interface: a token in the clear is for this machine alone.
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fault.New(fault.Local, "cannot listen on 127.0.0.1: %w", listenError(err))
	}
	e := &Endpoint{host: l.Addr().String(), token: newEndpointToken(), get: get}
	e.server = &http.Server{
		Handler:                      http.HandlerFunc(e.serve),
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            unknownTime,
		ReadTimeout:                  10 * time.Second,
		WriteTimeout:                 maxWait + 10*time.Second,
		IdleTimeout:                  10 * time.Second,
		MaxHeaderBytes:               16 << 10,
		// What net/http has to say would go to stderr, past the one printer.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	e.serving.Go(func() { _ = e.server.Serve(limitListener(l, maxConnections)) }) // ends with Close
	return e, nil
}

// listenError is the system's own word, without the address.
func listenError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// newEndpointToken returns 256 bits.
func newEndpointToken() secret.Value {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // documented never to fail
	return secret.New(base64.RawURLEncoding.EncodeToString(b))
}

// Close ends the endpoint: nothing listens any more, and no connection is open.
func (e *Endpoint) Close() {
	_ = e.server.Close()
	e.serving.Wait()
}

// Environment returns the variables that lead every SDK to the endpoint, and those
// that would win over it. getenv is the environment that they change.
func (e *Endpoint) Environment(region string, getenv func(string) string) child.Environment {
	env := child.Environment{
		Set: []child.Var{
			{Name: "AWS_CONTAINER_CREDENTIALS_FULL_URI", Value: secret.New("http://" + e.host + endpointPath)},
			{Name: "AWS_CONTAINER_AUTHORIZATION_TOKEN", Value: e.token},
		},
		// The endpoint is the last that the SDKs ask: any key wins over it. The
		// two names without _ID and _ACCESS are those of Go and of old Java.
		Unset: append(ConflictingVariables(), "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL_EXPIRATION",
			"AWS_ACCESS_KEY", "AWS_SECRET_KEY"),
	}
	env.Set = append(env.Set, regionVars(region)...)
	env.Set = append(env.Set, child.NoProxy(getenv, "127.0.0.1")...)
	return env
}

// A said is what the endpoint answers instead of credentials: the SDK for Go
// shows both members, botocore the whole.
type said struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	body, refused := e.answer(r)
	status := http.StatusOK
	if refused != nil {
		if refused.status == http.StatusMethodNotAllowed {
			h.Set("Allow", http.MethodGet)
		}
		status = refused.status
		body, _ = json.Marshal(refused) // two texts
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // #nosec G705 -- JSON by its type, which no browser may guess anew; who has gone gets none
}

// answer returns the credentials as the SDKs read them, or what is said instead.
func (e *Endpoint) answer(r *http.Request) ([]byte, *said) {
	if no := e.refuse(r); no != nil {
		return nil, no
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxWait)
	defer cancel()
	got, err := e.get(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, &said{http.StatusServiceUnavailable, "CredentialsUnavailable", "the credentials are being renewed"}
	case err != nil:
		// Not 5xx, which SDKs ask again: the next answer is the same for a while.
		return nil, &said{http.StatusBadRequest, "CredentialsExpired", err.Error()}
	}
	body, err := got.container()
	if err != nil {
		return nil, &said{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	return body, nil
}

// refuse judges who asks. Whoever has not the token learns nothing but that.
func (e *Endpoint) refuse(r *http.Request) *said {
	forbidden := func(message string) *said { return &said{http.StatusForbidden, "AccessDenied", message} }
	switch {
	case r.Host != e.host:
		// A web page whose name leads to 127.0.0.1 (DNS rebinding) asks under
		// its own name.
		return forbidden("this is no name of the endpoint")
	case !strings.HasPrefix(r.RequestURI, "/") || relayed(r.Header):
		return forbidden("this request comes from somewhere else: keep 127.0.0.1 from the proxy, with NO_PROXY")
	case !e.knows(r.Header.Values("Authorization")):
		return forbidden("the Authorization header does not hold AWS_CONTAINER_AUTHORIZATION_TOKEN")
	case r.RequestURI != endpointPath:
		return &said{http.StatusNotFound, "NotFound", "there is " + endpointPath + " alone"}
	case r.Method != http.MethodGet:
		return &said{http.StatusMethodNotAllowed, "MethodNotAllowed", "there is GET alone"}
	}
	return nil
}

// knows compares in a time that tells nothing of the token.
func (e *Endpoint) knows(sent []string) bool {
	return len(sent) == 1 && subtle.ConstantTimeCompare([]byte(sent[0]), []byte(e.token.Reveal())) == 1
}

// relayed says whether a proxy or a browser sent the request for somebody. No SDK
// sends one of these by itself.
func relayed(h http.Header) bool {
	for name := range h {
		switch name {
		case "Forwarded", "Via", "Origin", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip":
			return true
		}
		if strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "Proxy-") {
			return true
		}
	}
	return false
}

// container returns the credentials as a container-credentials provider answers.
// Expiration is always there: botocore fails without, and no SDK would ask again.
func (c Credentials) container() ([]byte, error) {
	b, err := json.Marshal(struct { // #nosec G117 -- handing them out is what it is for
		AccessKeyId, SecretAccessKey, Token, Expiration, AccountId string
	}{c.AccessKeyID.Reveal(), c.SecretAccessKey.Reveal(), c.SessionToken.Reveal(), c.Expiration.UTC().Format(time.RFC3339), c.Account})
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot write the credentials as JSON")
	}
	return b, nil
}
