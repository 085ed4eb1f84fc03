package sandbox

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// aws-sdk-go-v2 goes through a chain. It signs by the wall clock, so here the
// sandbox has that too.
func TestAWSSDK(t *testing.T) {
	const second = "arn:aws:iam::444455556666:role/team/release"
	s := start(t, Config{Now: time.Now, Roles: []string{DefaultRole, second}})
	set, _ := s.Environment()
	client := func(c aws.CredentialsProvider) *awssts.Client {
		return awssts.New(awssts.Options{Region: "eu-west-1", BaseEndpoint: aws.String(set["AWS_ENDPOINT_URL_STS"]), Credentials: c})
	}
	ctx := t.Context()
	first, err := client(nil).AssumeRoleWithWebIdentity(ctx, &awssts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(DefaultRole), RoleSessionName: aws.String("build-1"), WebIdentityToken: aws.String(set["CIRCLE_OIDC_TOKEN"]),
		Policy: aws.String(policyText),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := *first.SubjectFromWebIdentityToken; got != ownSubject {
		t.Errorf("subject %q", got)
	}
	if left := time.Until(*first.Credentials.Expiration); left < 59*time.Minute || left > time.Hour {
		t.Errorf("expires in %s", left)
	}
	chained, err := client(given(*first.Credentials.AccessKeyId, *first.Credentials.SecretAccessKey, *first.Credentials.SessionToken)).
		AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: aws.String(second), RoleSessionName: aws.String("build+2")})
	if err != nil {
		t.Fatal(err)
	}
	who, err := client(given(*chained.Credentials.AccessKeyId, *chained.Credentials.SecretAccessKey, *chained.Credentials.SessionToken)).
		GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := *who.Arn, "arn:aws:sts::444455556666:assumed-role/release/build+2"; got != want {
		t.Errorf("identity %q, want %q", got, want)
	}
	if got := *who.Account; got != "444455556666" {
		t.Errorf("account %q", got)
	}
}

// The SDK knows our refusals for what they are.
func TestAWSSDKRefusals(t *testing.T) {
	s := start(t, Config{Now: time.Now})
	set, _ := s.Environment()
	good, _, err := s.Mint(Variant{})
	if err != nil {
		t.Fatal(err)
	}
	_, fork, err := s.Mint(Variant{Fork: true})
	if err != nil {
		t.Fatal(err)
	}
	client := awssts.New(awssts.Options{Region: "us-east-1", BaseEndpoint: aws.String(set["AWS_ENDPOINT_URL_STS"]), Credentials: given("ASIAAAAAAAAAAAAAAAAA", "x", "y")})
	exchange := func(token, name string) error {
		_, err := client.AssumeRoleWithWebIdentity(t.Context(), &awssts.AssumeRoleWithWebIdentityInput{
			RoleArn: aws.String(DefaultRole), RoleSessionName: aws.String(name), WebIdentityToken: aws.String(token),
		})
		return err
	}
	_, unknown := client.GetCallerIdentity(t.Context(), &awssts.GetCallerIdentityInput{})
	for _, row := range []struct {
		err        error
		code, text string
	}{
		{exchange(fork, "build-1"), "AccessDenied", deniedText},
		{exchange("not.a.jwt", "build-1"), "InvalidIdentityToken", notJWTText},
		{exchange(good, "a b"), "ValidationError", `1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		{unknown, "InvalidClientTokenId", "The security token included in the request is invalid."},
	} {
		var api smithy.APIError
		if !errors.As(row.err, &api) || api.ErrorCode() != row.code || api.ErrorMessage() != row.text || api.ErrorFault() != smithy.FaultClient && api.ErrorFault() != smithy.FaultUnknown {
			t.Errorf("%v\nwant %s %q", row.err, row.code, row.text)
		}
	}
}

// What the SDK's signer signs, we verify, whatever the request looks like.
func TestSDKSigner(t *testing.T) {
	l := newLab(t, Config{})
	s := l.session()
	body := callerIdentity().Encode()
	for _, target := range []string{
		"http://127.0.0.1:1/",
		"http://127.0.0.1:1",
		"http://sts.example.test/some/path/",
		"http://127.0.0.1:1/a%20b/%C3%A9?b=2&a=1&a=0&empty&x=%2F%20y+z",
		"http://127.0.0.1:1/~x/-._/!$&'()*+,;=:@?q=~-._!*'()",
	} {
		r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		r.Header.Set("X-Odd", "  a   b  ")
		r.Header.Add("X-Odd", "c")
		credentials, err := given(s.keyID, s.secretKey.Reveal(), s.token.Reveal()).Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, hexSHA256([]byte(body)), "sts", "us-gov-west-1", l.now); err != nil {
			t.Fatal(err)
		}
		if found, err := l.sts.authenticate(r, []byte(body)); err != nil || found != s {
			t.Errorf("%s: %v", target, err)
		}
		changed := bytes.Replace([]byte(body), []byte("Get"), []byte("get"), 1)
		if _, err := l.sts.authenticate(r, changed); err == nil {
			t.Errorf("%s: a changed body passes", target)
		}
	}
}

// A client may sign a hash that is not the body's. AWS compares.
func TestSDKSignerWithAnotherHash(t *testing.T) {
	l := newLab(t, Config{})
	s := l.session()
	body := callerIdentity().Encode()
	credentials, err := given(s.keyID, s.secretKey.Reveal(), s.token.Reveal()).Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for hash, good := range map[string]bool{hexSHA256([]byte(body)): true, "UNSIGNED-PAYLOAD": false} {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1/", strings.NewReader(body))
		r.Header.Set("X-Amz-Content-Sha256", hash)
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, hexSHA256([]byte(body)), "sts", "us-east-1", l.now); err != nil {
			t.Fatal(err)
		}
		if _, err := l.sts.authenticate(r, []byte(body)); (err == nil) != good {
			t.Errorf("%s: %v", hash, err)
		}
	}
}

// given are credentials as they are.
func given(keyID, secretKey, token string) aws.CredentialsProviderFunc {
	return func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secretKey, SessionToken: token}, nil
	}
}
