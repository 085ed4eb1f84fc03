package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// A faulty server misbehaves in one way. n counts its requests from 1. What it
// says holds a marker, which must never show.
type faulty func(w http.ResponseWriter, r *http.Request, n int32)

const marker = "MARKER-9f8e7d6c"

var faults = map[string]faulty{
	"html": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><html><body>Please log in "+marker+"</body></html>")
	},
	"html-403": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<html><h1>Forbidden by policy "+marker+"</h1></html>")
	},
	"html-502": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprint(w, "<html><h1>502 Bad Gateway "+marker+"</h1></html>")
	},
	"empty":    func(http.ResponseWriter, *http.Request, int32) {},
	"not-http": func(w http.ResponseWriter, _ *http.Request, _ int32) { hijack(w, "SSH-2.0-"+marker+"\r\n") },
	"wrong-root": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		fmt.Fprint(w, `<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01"><Owner><ID>`+marker+`</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>`)
	},
	"no-credentials": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		fmt.Fprint(w, answer("", "arn:aws:sts::111122223333:assumed-role/deploy/deploy"))
	},
	"newline-in-key": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		fmt.Fprint(w, answer(credentials("ASIAEXAMPLE\n[evil]\nrole_arn = x"), "arn:aws:sts::111122223333:assumed-role/deploy/deploy"))
	},
	"other-role": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		fmt.Fprint(w, answer(credentials("ASIAEXAMPLE"), "arn:aws:sts::111122223333:assumed-role/admin/deploy"))
	},
	"other-account": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		fmt.Fprint(w, answer(credentials("ASIAEXAMPLE"), "arn:aws:sts::999999999999:assumed-role/deploy/deploy"))
	},
	"half": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		w.Header().Set("Content-Length", "4000")
		fmt.Fprint(w, "<AssumeRoleWithWebIdentityResponse>"+marker)
	},
	"redirect": func(w http.ResponseWriter, r *http.Request, _ int32) {
		if r.URL.Path == "/elsewhere" {
			panic("a redirect was followed")
		}
		http.Redirect(w, r, "/elsewhere?"+marker, http.StatusTemporaryRedirect)
	},
	"3mb": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		_, _ = w.Write(bytes.Repeat([]byte("<a>"), 1<<20))
	},
	"silent": func(_ http.ResponseWriter, r *http.Request, _ int32) {
		_, _ = io.Copy(io.Discard, r.Body) // else the client's leaving goes unnoticed
		<-r.Context().Done()
	},
	"closing": func(w http.ResponseWriter, _ *http.Request, _ int32) { hijack(w, "") },
	"503":     func(w http.ResponseWriter, _ *http.Request, _ int32) { w.WriteHeader(http.StatusServiceUnavailable) },
	"429-wait": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusTooManyRequests)
	},
	"throttled": func(w http.ResponseWriter, _ *http.Request, _ int32) { refuse(w, 400, "Throttling", "Rate exceeded") },
	"keys-unreachable": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		refuse(w, 400, "InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
	},
	// The two that mend themselves need a second attempt, and get one.
	"503-once":  once(func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }),
	"half-once": once(func(w http.ResponseWriter) { w.Header().Set("Content-Length", "4000"); fmt.Fprint(w, "<Assume") }),
	"keys-once": once(func(w http.ResponseWriter) {
		refuse(w, 400, "InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
	}),
	"echo-token": func(w http.ResponseWriter, r *http.Request, _ int32) {
		refuse(w, 403, "AccessDenied", "cannot take "+r.FormValue("WebIdentityToken")+" \x1b[31mred")
	},
	"thumbprint": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		refuse(w, 400, "InvalidIdentityToken", "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint")
	},
	"region-disabled": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		refuse(w, 403, "RegionDisabledException", "STS is not activated in this region for account:111122223333. Your account administrator can activate STS in this region using the IAM Console.")
	},
}

func once(first func(http.ResponseWriter)) faulty {
	return func(w http.ResponseWriter, _ *http.Request, n int32) {
		if n == 1 {
			first(w)
			return
		}
		fmt.Fprint(w, answer(credentials("ASIAEXAMPLE"), "arn:aws:sts::111122223333:assumed-role/deploy/deploy"))
	}
}

func credentials(id string) string {
	return "<Credentials><AccessKeyId>" + id + "</AccessKeyId><SecretAccessKey>" + marker + "</SecretAccessKey>" +
		"<SessionToken>" + marker + "token</SessionToken><Expiration>2099-01-02T03:04:05Z</Expiration></Credentials>"
}

func answer(credentials, arn string) string {
	return `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>` + credentials +
		`<AssumedRoleUser><AssumedRoleId>AROA:deploy</AssumedRoleId><Arn>` + arn + `</Arn></AssumedRoleUser>` +
		`</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>`
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	message = strings.NewReplacer("&", "&amp;", "<", "&lt;", "\x1b", "&#xFFFD;").Replace(message)
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>`, code, message)
}

func hijack(w http.ResponseWriter, say string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && say == "" {
		_ = tcp.SetLinger(0)
	}
	_, _ = conn.Write([]byte(say))
	_ = conn.Close()
}

// startFaulty starts a misbehaving server and points the script's clients at it:
// as AWS's STS, as one of Google's services, or as Vault.
func startFaulty(ts *testscript.TestScript, neg bool, args []string) {
	var fault faulty
	variable := "AWS_ENDPOINT_URL_STS"
	switch {
	case !neg && len(args) == 1:
		fault = faults[args[0]]
	case !neg && len(args) == 2 && googleServices[args[1]] != "":
		fault, variable = faultyGoogle(ts, args[0], args[1]), googleServices[args[1]]
	case !neg && len(args) == 3 && args[1] == "vault":
		fault, variable = faultyVault(ts, args[0], args[2]), "VAULT_ADDR"
	}
	if fault == nil {
		ts.Fatalf("usage: faulty KIND [sts|iam|vault PATH]")
	}
	n := new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fault(w, r, n.Add(1)) }))
	ts.Defer(func() { s.CloseClientConnections(); s.Close() })
	ts.Setenv(variable, s.URL)
	held := secretsOf(ts)
	held.mu.Lock()
	held.more = append(held.more, marker)
	held.mu.Unlock()
}
