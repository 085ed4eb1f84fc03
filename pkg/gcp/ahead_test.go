package gcp

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// The connection to IAM Credentials is there before STS has answered; without a
// service account there is none.
func TestIAMIsConnectedWhileSTSAnswers(t *testing.T) {
	connected := make(chan struct{}, 10)
	var connections atomic.Int32
	iam := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"accessToken":"ya29.SA","token":"h.p.s","expireTime":"2099-01-02T03:04:05Z"}`)
	}))
	iam.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
			connected <- struct{}{}
		}
	}
	iam.Config.ErrorLog = log.New(io.Discard, "", 0)
	iam.StartTLS()
	defer iam.Close()
	wait := true
	sts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait {
			select {
			case <-connected:
			case <-r.Context().Done(): // the client gave up
			}
		}
		_, _ = io.WriteString(w, `{"access_token":"`+federated+`","token_type":"Bearer","expires_in":3599}`)
	}))
	defer sts.Close()

	tr := remote.NewTransport(func(string) string { return "" })
	tr.DialTLSContext = (&tls.Dialer{Config: iam.Client().Transport.(*http.Transport).TLSClientConfig}).DialContext
	client := func() *remote.Client { return &remote.Client{Transport: tr, Now: now} }
	o := Options{ServiceAccount: testAccount, STSEndpoint: sts.URL, IAMCredentialsEndpoint: iam.URL}
	if got, err := settled(t, o).Run(t.Context(), client(), testToken()); err != nil || got.Token.Reveal() != "ya29.SA" {
		t.Fatal(err)
	}
	if _, err := settled(t, o).IDToken(t.Context(), client(), testToken(), "aud", false); err != nil {
		t.Fatal(err)
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections to IAM Credentials for two exchanges", n)
	}
	o.ServiceAccount, o.Direct, wait = "", true, false
	if got, err := settled(t, o).Run(t.Context(), client(), testToken()); err != nil || got.Token.Reveal() != federated {
		t.Fatal(err)
	}
	if n := connections.Load(); n != 2 {
		t.Error("direct access connects to IAM Credentials")
	}
}
