//go:build linux

// These clients bring gRPC with them, which takes a minute to compile: once is
// enough.

package sandbox

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/iamcredentials/v1"
	"google.golang.org/api/option"
	googlests "google.golang.org/api/sts/v1"
)

// Google's own clients of the two services, which are made from Google's
// description of them: whatever they send is understood, and whatever they are
// sent, they understand, without a field left over.
func TestGoogleAPIClients(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Now: time.Now})
	set, _ := s.Environment()
	tokens, err := googlests.NewService(t.Context(), option.WithEndpoint(set["CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"]), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := iamcredentials.NewService(t.Context(), option.WithEndpoint(set["CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"]), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	v1, _ := mustMint(t, s, Variant{})
	exchange := func(subject string) (*googlests.GoogleIdentityStsV1ExchangeTokenResponse, error) {
		return tokens.V1.Token(&googlests.GoogleIdentityStsV1ExchangeTokenRequest{
			Audience: "//iam.googleapis.com/" + DefaultGCPProvider, GrantType: "urn:ietf:params:oauth:grant-type:token-exchange",
			RequestedTokenType: "urn:ietf:params:oauth:token-type:access_token", Scope: cloudPlatform,
			SubjectToken: subject, SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
		}).Context(t.Context()).Do()
	}
	federated, err := exchange(v1)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.Issued(), federated.AccessToken) || federated.TokenType != "Bearer" || federated.ExpiresIn < 3000 ||
		federated.IssuedTokenType != "urn:ietf:params:oauth:token-type:access_token" {
		t.Errorf("exchanged for a %s %s of %d seconds", federated.TokenType, federated.IssuedTokenType, federated.ExpiresIn)
	}

	const name = "projects/-/serviceAccounts/" + DefaultGCPServiceAccount
	access := accounts.Projects.ServiceAccounts.GenerateAccessToken(name, &iamcredentials.GenerateAccessTokenRequest{Scope: []string{cloudPlatform}, Lifetime: "600s"})
	access.Header().Set("Authorization", "Bearer "+federated.AccessToken)
	made, err := access.Context(t.Context()).Do()
	if err != nil {
		t.Fatal(err)
	}
	if ends, err := time.Parse(time.RFC3339, made.ExpireTime); err != nil || !slices.Contains(s.Issued(), made.AccessToken) || time.Until(ends) > 10*time.Minute {
		t.Errorf("a token until %s: %v", made.ExpireTime, err)
	}
	id := accounts.Projects.ServiceAccounts.GenerateIdToken(name, &iamcredentials.GenerateIdTokenRequest{Audience: "https://run.example", IncludeEmail: true})
	id.Header().Set("Authorization", "Bearer "+federated.AccessToken)
	idToken, err := id.Context(t.Context()).Do()
	if err != nil {
		t.Fatal(err)
	}
	if claims := decode(t, idToken.Token); claims["aud"] != "https://run.example" || claims["email"] != DefaultGCPServiceAccount {
		t.Errorf("an ID token of %v for %v", claims["email"], claims["aud"])
	}

	t.Run("refused by STS", func(t *testing.T) {
		_, err := exchange("nonsense")
		var no *googleapi.Error
		if !errors.As(err, &no) || no.Code != 400 {
			t.Fatal(err)
		}
		// This client has no name for what OAuth has as errors.
		var oauth struct{ Error string }
		if json.Unmarshal([]byte(no.Body), &oauth) != nil || oauth.Error != "invalid_grant" {
			t.Errorf("it says %s", no.Body)
		}
	})
	t.Run("refused by IAM", func(t *testing.T) {
		unbound := accounts.Projects.ServiceAccounts.GenerateAccessToken("projects/-/serviceAccounts/nobody@sandbox-project.iam.gserviceaccount.com",
			&iamcredentials.GenerateAccessTokenRequest{Scope: []string{cloudPlatform}})
		unbound.Header().Set("Authorization", "Bearer "+federated.AccessToken)
		_, err := unbound.Context(t.Context()).Do()
		var no *googleapi.Error
		if !errors.As(err, &no) || no.Code != 403 || no.Message != "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)." || len(no.Details) != 1 {
			t.Errorf("%v", err)
		}
	})
}
