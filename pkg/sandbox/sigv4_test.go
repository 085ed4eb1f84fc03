package sandbox

import (
	"bufio"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The example of AWS's documentation, "Calculating a signature".
func TestSigningKey(t *testing.T) {
	key := signingKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam")
	if got, want := hex.EncodeToString(key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"; got != want {
		t.Errorf("signing key %s, want %s", got, want)
	}
}

// The vectors are from AWS's Signature Version 4 test suite, and the first one
// from its documentation ("Create a canonical request").
func TestSignatureVectors(t *testing.T) {
	const hello = "\r\nHost:example.amazonaws.com\r\nX-Amz-Date:20150830T123600Z\r\n"
	for _, row := range []struct{ name, service, request, signed, want string }{
		{"documentation", "iam", "GET /?Action=ListUsers&Version=2010-05-08 HTTP/1.1\r\nHost:iam.amazonaws.com\r\nContent-Type:application/x-www-form-urlencoded; charset=utf-8\r\nX-Amz-Date:20150830T123600Z\r\n\r\n",
			"content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
		{"get-vanilla", "service", "GET / HTTP/1.1" + hello + "\r\n", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query-order-key-case", "service", "GET /?Param2=value2&Param1=value1 HTTP/1.1" + hello + "\r\n", "host;x-amz-date",
			"b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"get-vanilla-query-order-value", "service", "GET /?Param1=value2&Param1=value1 HTTP/1.1" + hello + "\r\n", "host;x-amz-date",
			"5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"},
		{"get-header-key-duplicate", "service", "GET / HTTP/1.1\r\nHost:example.amazonaws.com\r\nMy-Header1:value2\r\nMy-Header1:value2\r\nMy-Header1:value1\r\nX-Amz-Date:20150830T123600Z\r\n\r\n",
			"host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{"get-header-value-trim", "service", "GET / HTTP/1.1\r\nHost:example.amazonaws.com\r\nMy-Header1: value1\r\nMy-Header2: \"a   b   c\"\r\nX-Amz-Date:20150830T123600Z\r\n\r\n",
			"host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{"post-vanilla", "service", "POST / HTTP/1.1" + hello + "\r\n", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"post-header-key-sort", "service", "POST / HTTP/1.1\r\nHost:example.amazonaws.com\r\nMy-Header1:value1\r\nX-Amz-Date:20150830T123600Z\r\n\r\n",
			"host;my-header1;x-amz-date", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
		{"post-sts-header-before", "service", "POST / HTTP/1.1" + hello + "X-Amz-Security-Token:AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==\r\n\r\n",
			"host;x-amz-date;x-amz-security-token", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
		{"post-x-www-form-urlencoded", "service", "POST / HTTP/1.1\r\nContent-Type:application/x-www-form-urlencoded\r\nHost:example.amazonaws.com\r\nX-Amz-Date:20150830T123600Z\r\n\r\nParam1=value1",
			"content-type;host;x-amz-date", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	} {
		head, body, _ := strings.Cut(row.request, "\r\n\r\n")
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n\r\n")))
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		a := authorization{date: "20150830", region: "us-east-1", service: row.service, terminator: "aws4_request", headers: strings.Split(row.signed, ";")}
		got, err := a.sign(r, []byte(body), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
		if err != nil || got != row.want {
			t.Errorf("%s: %s, %v, want %s", row.name, got, err, row.want)
		}
	}
}

// Each row changes a well-signed request in one place.
func TestSignatureRefusals(t *testing.T) {
	const (
		mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
		invalid  = "The security token included in the request is invalid."
	)
	l := newLab(t, Config{})
	s, other := l.session(), l.session()
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	replace := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			h := r.Header.Get("Authorization")
			if !strings.Contains(h, old) {
				t.Fatalf("nothing to replace: %q", old)
			}
			r.Header.Set("Authorization", strings.Replace(h, old, new, 1))
		}
	}
	// redate signs anew at another time.
	redate := func(by time.Duration) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("X-Amz-Date", l.now.Add(by).Format(sigTime))
			l.authorize(r, s, callerIdentity().Encode(), []string{"content-type", "host", "x-amz-date", "x-amz-security-token"})
		}
	}
	for _, row := range []struct {
		name       string
		change     func(*http.Request)
		code, text string
	}{
		{"no signature", func(r *http.Request) { r.Header.Del("Authorization") }, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		{"two signatures", func(r *http.Request) { r.Header.Add("Authorization", "x") }, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		{"basic", set("Authorization", "Basic eDp5"), "IncompleteSignature", "Unsupported AWS 'algorithm'."},
		{"empty", set("Authorization", "AWS4-HMAC-SHA256 "), "IncompleteSignature", "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter."},
		{"short credential", replace("/aws4_request", ""), "IncompleteSignature", "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."},
		{"long credential", replace("/aws4_request", "/aws4_request/"), "IncompleteSignature", "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."},
		{"no date", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "IncompleteSignature", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."},
		{"no such date", set("X-Amz-Date", "2026-11-22T12:00:00Z"), "IncompleteSignature", "Date must be in ISO-8601 'basic format'."},
		{"terminator", replace("aws4_request", "aws5_request"), "SignatureDoesNotMatch", "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'."},
		{"service", replace("/sts/", "/iam/"), "SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sts'. "},
		{"region", replace("us-east-1", "us_east"), "SignatureDoesNotMatch", "Credential should be scoped to a valid region. "},
		{"scope date", replace("20261122", "20261121"), "SignatureDoesNotMatch", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261121' != '20261122', from '20261122T120000Z'."},
		{"too old", redate(-901 * time.Second), "SignatureDoesNotMatch", "Signature expired: 20261122T114459Z is now earlier than 20261122T114500Z (20261122T120000Z - 15 min.)"},
		{"too new", redate(901 * time.Second), "SignatureDoesNotMatch", "Signature not yet current: 20261122T121501Z is still later than 20261122T121500Z (20261122T120000Z + 15 min.)"},
		{"host not signed", replace("host;", ""), "SignatureDoesNotMatch", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"date not signed", replace("x-amz-date;", ""), "SignatureDoesNotMatch", "'x-amz-date' must be a 'SignedHeader' in the AWS Authorization."},
		{"token not signed", replace(";x-amz-security-token", ""), "SignatureDoesNotMatch", "'x-amz-security-token' must be a 'SignedHeader' in the AWS Authorization."},
		{"header slipped in", set("X-Amz-Extra", "1"), "SignatureDoesNotMatch", "'x-amz-extra' must be a 'SignedHeader' in the AWS Authorization."},
		{"unknown key", replace(s.keyID, "ASIAAAAAAAAAAAAAAAAA"), "InvalidClientTokenId", invalid},
		{"no token", func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") }, "InvalidClientTokenId", invalid},
		{"another's token", set("X-Amz-Security-Token", other.token.Reveal()), "InvalidClientTokenId", invalid},
		{"another's key", replace(s.keyID, other.keyID), "InvalidClientTokenId", invalid},
		{"token with a newline", set("X-Amz-Security-Token", s.token.Reveal()+"\n"), "InvalidClientTokenId", invalid},
		{"wrong secret", func(r *http.Request) {
			wrong := *s
			wrong.secretKey = other.secretKey
			l.authorize(r, &wrong, callerIdentity().Encode(), []string{"content-type", "host", "x-amz-date", "x-amz-security-token"})
		}, "SignatureDoesNotMatch", mismatch},
		{"other region than signed", replace("us-east-1", "eu-west-1"), "SignatureDoesNotMatch", mismatch},
		{"other host", func(r *http.Request) { r.Host = "127.0.0.1:2" }, "SignatureDoesNotMatch", mismatch},
		{"other path", func(r *http.Request) { r.URL.Path = "/x" }, "SignatureDoesNotMatch", mismatch},
		{"query slipped in", func(r *http.Request) { r.URL.RawQuery = "a=b" }, "SignatureDoesNotMatch", mismatch},
		{"other method", func(r *http.Request) { r.Method = http.MethodPut }, "SignatureDoesNotMatch", mismatch},
		{"other type", set("Content-Type", "text/plain"), "SignatureDoesNotMatch", mismatch},
		{"signed header not sent", replace("content-type;", "content-language;content-type;"), "SignatureDoesNotMatch", mismatch},
		{"headers out of order", replace("content-type;host", "host;content-type"), "SignatureDoesNotMatch", mismatch},
		{"upper-case signature", func(r *http.Request) {
			head, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			r.Header.Set("Authorization", head+"Signature="+strings.ToUpper(signature))
		}, "SignatureDoesNotMatch", mismatch},
	} {
		l.do(l.signed(s, callerIdentity(), row.change)).wantRefusal(t, row.name, 403, row.code, row.text)
	}
}

func TestSignedBody(t *testing.T) {
	l := newLab(t, Config{})
	s := l.session()
	signed := l.signed(s, callerIdentity(), nil)
	body := callerIdentity().Encode() + "&x=y"
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1/", strings.NewReader(body))
	r.Header = signed.Header
	if a := l.do(r); a.code != "SignatureDoesNotMatch" {
		t.Errorf("changed body: %d %s", a.status, a.code)
	}
	for _, row := range []struct {
		name, hash string
		want       int
	}{
		{"the body's hash", hexSHA256([]byte(callerIdentity().Encode())), 200},
		{"another hash", hexSHA256(nil), 403},
		{"no hash", "UNSIGNED-PAYLOAD", 403},
	} {
		r := l.signed(s, callerIdentity(), func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", hexSHA256([]byte(callerIdentity().Encode())))
			l.authorize(r, s, callerIdentity().Encode(), []string{"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"})
			r.Header.Set("X-Amz-Content-Sha256", row.hash)
		})
		if a := l.do(r); a.status != row.want {
			t.Errorf("%s: %d %s", row.name, a.status, a.code)
		}
	}
}

func TestSignatureAccepted(t *testing.T) {
	l := newLab(t, Config{})
	s := l.session()
	for name, change := range map[string]func(*http.Request){
		"as it is": nil,
		"a quarter of an hour late": func(r *http.Request) {
			l.now = at.Add(15 * time.Minute)
		},
		"an unsigned header that is not AWS's": func(r *http.Request) { r.Header.Set("User-Agent", "x") },
		"no blank after commas": func(r *http.Request) {
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), ", ", ","))
		},
	} {
		l.now = at
		if a := l.do(l.signed(s, callerIdentity(), change)); a.status != 200 {
			t.Errorf("%s: %d %s %s", name, a.status, a.code, a.text)
		}
	}
}

func TestExpiredCredentials(t *testing.T) {
	l := newLab(t, Config{})
	s := l.session()
	l.now = at.Add(time.Hour - time.Second)
	if a := l.do(l.signed(s, callerIdentity(), nil)); a.status != 200 {
		t.Errorf("in the last second: %d %s", a.status, a.code)
	}
	l.now = at.Add(time.Hour)
	l.do(l.signed(s, callerIdentity(), nil)).wantRefusal(t, "over", 403, "ExpiredToken", "The security token included in the request is expired")
}

// With a session TTL what was given for an hour ends after it: the answer says so,
// and afterwards it is refused. What was asked for shorter ends as it was.
func TestShortSessions(t *testing.T) {
	second := "arn:aws:iam::222233334444:role/second"
	l := newLab(t, Config{SessionTTL: 20 * time.Minute, Roles: []string{DefaultRole, second}})
	first := l.post(webIdentity(l.v1(Variant{}, nil), nil))
	_, id, _ := strings.Cut(first.body, "<AccessKeyId>")
	id, _, _ = strings.Cut(id, "</AccessKeyId>")
	s := l.sts.sessions.find(id)
	chained := l.do(l.signed(s, url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {second}, "RoleSessionName": {"build-1"}}, nil))
	if !strings.Contains(chained.body, "<Expiration>2026-11-22T12:20:00Z</Expiration>") {
		t.Errorf("the chained one does not end at 12:20: %s", chained.body)
	}
	for _, row := range []struct{ asked, ends string }{{"", "12:20:00"}, {"3600", "12:20:00"}, {"900", "12:15:00"}} {
		form := url.Values{}
		if row.asked != "" {
			form.Set("DurationSeconds", row.asked)
		}
		if a := l.post(webIdentity(l.v1(Variant{}, nil), form)); !strings.Contains(a.body, "<Expiration>2026-11-22T"+row.ends+"Z</Expiration>") {
			t.Errorf("%q seconds do not end at %s: %s", row.asked, row.ends, a.body)
		}
	}
	token := l.federated()
	account := l.iam(token, DefaultGCPServiceAccount, "generateAccessToken", `{`+goodScope+`}`)
	if account.ExpireTime != "2026-11-22T12:20:00Z" {
		t.Errorf("Google's ends %s", account.ExpireTime)
	}
	if short := l.iam(token, DefaultGCPServiceAccount, "generateAccessToken", `{`+goodScope+`,"lifetime":"600s"}`); short.ExpireTime != "2026-11-22T12:10:00Z" {
		t.Errorf("Google's of ten minutes ends %s", short.ExpireTime)
	}
	if a := l.googleForm("/v1/token", exchangeForm(l.v1(Variant{}, nil), nil)); a.ExpiresIn != 1200 {
		t.Errorf("Google's federated one lasts %d seconds", a.ExpiresIn)
	}
	project := func(bearer string) googleAnswer {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:1/v1/projects/123456789012", nil)
		r.Header.Set("Authorization", "Bearer "+bearer)
		return l.askGoogle(l.google.serveCRM, r)
	}
	l.later(20*time.Minute - time.Second)
	if a := l.do(l.signed(s, callerIdentity(), nil)); a.status != 200 {
		t.Errorf("in the last second: %d %s", a.status, a.code)
	}
	for _, bearer := range []string{token, account.SAToken} {
		if a := project(bearer); a.status != 200 {
			t.Errorf("in the last second: %d %s", a.status, a.body)
		}
	}
	l.later(time.Second)
	l.do(l.signed(s, callerIdentity(), nil)).wantRefusal(t, "over", 403, "ExpiredToken", "The security token included in the request is expired")
	for _, bearer := range []string{token, account.SAToken} {
		project(bearer).wantAPI(t, "over", 401, "UNAUTHENTICATED", wrongBearerText, "")
	}
	l.iam(token, DefaultGCPServiceAccount, "generateAccessToken", `{`+goodScope+`}`).wantAPI(t, "over", 401, "UNAUTHENTICATED", wrongBearerText, "")
}

// A signature over headers that are not there, or in another order than the
// specification's, is none, whatever the client computed.
func TestSignedHeadersAsSpecified(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://h/", nil)
	r.Header.Set("X-Amz-Date", at.Format(sigTime))
	for _, headers := range []string{"x-amz-date;host", "content-language;host;x-amz-date", ";host;x-amz-date"} {
		if _, err := canonicalRequest(r, strings.Split(headers, ";"), ""); err == nil {
			t.Errorf("%s: accepted", headers)
		}
	}
}

func TestCanonicalPath(t *testing.T) {
	for _, row := range []struct{ path, want string }{
		{"", "/"}, {"/", "/"}, {"//", "/"}, {"/a/./b/../c", "/a/c"}, {"/a//b/", "/a/b/"}, {"/a%20b", "/a%2520b"}, {"/../x", "/x"},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://h"+row.path, nil)
		if got := canonicalPath(r.URL); got != row.want {
			t.Errorf("%q: %q, want %q", row.path, got, row.want)
		}
	}
}

// Whatever the header says, parsing it ends, and what it accepts is complete.
func FuzzParseAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=ASIAX/20261122/us-east-1/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	f.Add("AWS4-HMAC-SHA256 Credential=////,SignedHeaders=;;,Signature==")
	f.Add("AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/e")
	f.Add("AWS4-HMAC-SHA256")
	f.Fuzz(func(t *testing.T, header string) {
		a, err := parseAuthorization(header)
		if err != nil {
			no, ok := err.(*refusal)
			if !ok || no.status != 403 || no.code != "IncompleteSignature" {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if a.signature == "" || len(a.headers) == 0 || strings.Contains(a.keyID+a.date+a.region+a.service+a.terminator, "/") {
			t.Errorf("accepted %+v", a)
		}
	})
}
