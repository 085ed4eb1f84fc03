package aws

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// marker is in every body, and must be in no error.
const marker = "MARKER7f3a91c2d4e5"

func escaped(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// FuzzSTSAnswer: whatever comes in STS's place, through the SDK that reads it.
// The body is taken as it is, and put into the places of a good answer.
func FuzzSTSAnswer(f *testing.F) {
	const arn = "arn:aws:sts::111122223333:assumed-role/deploy/s"
	raw := testToken().Raw.Reveal()
	f.Add(uint16(200), granted(arn))
	f.Add(uint16(200), arn)
	f.Add(uint16(200), "arn:aws:sts::111122223333:assumed-role/"+strings.Repeat("a", 3000)+"/s")
	f.Add(uint16(200), "ASIA&#10;x\r\n'$(id)")
	f.Add(uint16(200), "2026-11-22T10:00:00Z")
	f.Add(uint16(200), `<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>`)
	f.Add(uint16(400), `<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredTokenException</Code><Message>Token `+raw+` expired</Message></Error></ErrorResponse>`)
	f.Add(uint16(403), `<ErrorResponse><Error><Code>`+raw+`</Code></Error></ErrorResponse>`)
	f.Add(uint16(403), raw)
	f.Add(uint16(503), "<Response><Errors><Error><Code>Throttling</Code></Error></Errors></Response>")
	f.Add(uint16(302), "")
	f.Fuzz(func(t *testing.T, status uint16, body string) {
		in, good := escaped(t, body), granted(arn)
		for _, whole := range []string{
			body,
			strings.Replace(good, "key/+=", marker+in, 1),
			strings.Replace(good, "token==", in, 1),
			strings.Replace(good, arn, in, 1),
			strings.Replace(good, "2026-11-22T10:00:00.123456Z", in, 1),
			"<ErrorResponse><Error><Code>" + in + "</Code><Message>m</Message></Error><RequestId>" + marker + "</RequestId></ErrorResponse>",
			"<ErrorResponse><Error><Code>AccessDenied</Code><Message>" + in + "</Message></Error></ErrorResponse>",
		} {
			answered(t, &recorder{status: 100 + int(status)%900, body: whole}, raw)
		}
	})
}

// answered holds the exchange, and the question who one is, to what must be so
// for every answer.
func answered(t *testing.T, net *recorder, sent string) {
	t.Helper()
	x := settled(t, Options{RoleARN: testRole, ChainRoleARNs: []string{testRole}}, env())
	got, err := x.AssumeRole(t.Context(), net.client(), testToken())
	if err != nil {
		explained(t, err, sent)
	} else {
		for _, v := range []string{got.AccessKeyID.Reveal(), got.SecretAccessKey.Reveal(), got.SessionToken.Reveal()} {
			if !matches(`^[A-Za-z0-9+/=_.~-]+$`, v) {
				t.Errorf("takes %q for a part of credentials", v)
			}
		}
		if !strings.HasPrefix(got.ARN, "arn:") || !strings.Contains(got.ARN, ":sts::111122223333:assumed-role/deploy/") || !matches(`^[!-~]+$`, got.ARN) || got.Account != "111122223333" {
			t.Errorf("takes %q for the role", got.ARN)
		}
		if !got.Expiration.After(net.client().Now()) {
			t.Errorf("takes credentials that ended at %s", got.Expiration)
		}
		if _, err := (Cached{Credentials: got, Made: time.Unix(1763072000, 0)}).Process(); err != nil {
			t.Errorf("they cannot be handed on: %v", err)
		}
	}
	if id, err := x.Identify(t.Context(), net.client(), Credentials{AccessKeyID: testToken().Raw, SecretAccessKey: testToken().Raw, SessionToken: testToken().Raw}); err != nil {
		explained(t, err, sent)
	} else if id.ARN == "" {
		t.Error("it says nothing of who one is")
	}
}

// explained holds an error to what a user may see of an answer.
func explained(t *testing.T, err error, sent string) {
	t.Helper()
	if k := fault.KindOf(err); k != fault.Refused && k != fault.Unavailable {
		t.Errorf("kind %d: %v", k, err)
	}
	text := err.Error()
	if len(text) > 1500 {
		t.Errorf("an error of %d bytes: %.200s", len(text), text)
	}
	text += "\n" + strings.Join(fault.Hints(err), "\n")
	if strings.Contains(text, marker) {
		t.Errorf("the error shows what nobody asked for: %s", text)
	}
	for i := 0; i+16 <= len(sent); i++ {
		if strings.Contains(text, sent[i:i+16]) {
			t.Fatalf("the error shows a piece of the token: %s", text)
		}
	}
}
