package gcp

import (
	"encoding/json"
	"net/http"

	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// words are an answer's error, in either of Google's two forms.
type words struct {
	code    string // error, or the first reason, else the status
	message string
	api     bool // of Google's APIs (google.rpc.Status), else of OAuth (RFC 6749 §5.2)
	domain  string
}

func read(body []byte) (words, bool) {
	var oauth struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &oauth) == nil && oauth.Error != "" {
		return words{code: oauth.Error, message: oauth.Description}, true
	}
	// googleapi.CheckResponse reads the same, but for the status.
	var api struct {
		Error struct {
			Message string `json:"message"`
			Status  string `json:"status"`
			Details []struct {
				Reason string `json:"reason"`
				Domain string `json:"domain"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &api) != nil || api.Error.Message == "" && api.Error.Status == "" {
		return words{}, false
	}
	w := words{code: api.Error.Status, message: api.Error.Message, api: true}
	for _, d := range api.Error.Details {
		if d.Reason != "" {
			w.code, w.domain = d.Reason, d.Domain
			break
		}
	}
	return w, true
}

// cause returns the error as Google's own clients have it: *oauth2.RetrieveError or
// *googleapi.Error. The body and the headers are left out, and what they said is
// redacted: the types print them, and they may hold the token.
func (w words) cause(a remote.Answer, redact func(string) string) error {
	code, message := redact(w.code), redact(w.message)
	if !w.api {
		return &oauth2.RetrieveError{
			Response:  &http.Response{StatusCode: a.Status, Status: http.StatusText(a.Status), Header: http.Header{}, Body: http.NoBody},
			ErrorCode: code, ErrorDescription: message,
		}
	}
	return &googleapi.Error{
		Code: a.Status, Message: message,
		Errors:  []googleapi.ErrorItem{{Reason: code, Message: message}},
		Details: []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": redact(w.domain)}},
	}
}
