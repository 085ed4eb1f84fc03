package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// readBody reads a request to Google within its bound.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil {
		return nil, invalidArgument("The request's body cannot be read.")
	}
	if len(body) > maxRequest {
		return nil, payloadTooLarge()
	}
	return body, nil
}

// readParameters reads what the token service is asked, which may come as a
// form or as JSON. What the URL has is not looked at: a token there is shown to
// every proxy on the way.
func readParameters(r *http.Request, names ...string) (url.Values, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	switch media {
	case "application/x-www-form-urlencoded":
		return readForm(string(body))
	case "application/json":
		return jsonForm(body, names)
	}
	return nil, invalidArgument("The request's Content-Type is neither a form nor JSON.")
}

// readForm refuses what RFC 6749 does: a parameter that is there twice.
func readForm(body string) (url.Values, error) {
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, oauthRefusal("invalid_request", "The request's body is not a form.")
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, oauthRefusal("invalid_request", "The request has a parameter more than once.")
		}
	}
	return form, nil
}

func jsonForm(body []byte, names []string) (url.Values, error) {
	members, err := readMembers(body, names)
	if err != nil {
		return nil, err
	}
	form := url.Values{}
	for name, raw := range members {
		value, ok := text(raw)
		if !ok && !isNull(raw) {
			return nil, invalidArgument(fmt.Sprintf("Invalid value at '%s' (TYPE_STRING)", name))
		}
		form.Set(name, value)
	}
	return form, nil
}

// readMembers reads a JSON object whose members are all among the names. As
// with all of Google's APIs, names may be in camel case or have underscores;
// they are returned with underscores.
func readMembers(body []byte, names []string) (map[string]json.RawMessage, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	var sent map[string]json.RawMessage
	if json.Unmarshal(body, &sent) != nil {
		return nil, invalidJSON("Parsing terminated before end of input.")
	}
	members := map[string]json.RawMessage{}
	for name, raw := range sent {
		known := underscored(name)
		if !slices.Contains(names, known) {
			return nil, invalidJSON(fmt.Sprintf("Unknown name %q: Cannot find field.", shortened(name)))
		}
		members[known] = raw
	}
	return members, nil
}

// readMessage reads a JSON object into a struct.
func readMessage(r *http.Request, into any, names ...string) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	members, err := readMembers(body, names)
	if err != nil {
		return err
	}
	known, err := json.Marshal(members)
	if err != nil {
		return plainInvalidArgument()
	}
	if json.Unmarshal(known, into) != nil {
		return plainInvalidArgument().because("a field has a value of the wrong type")
	}
	return nil
}

// underscored writes subjectToken as subject_token.
func underscored(name string) string {
	var b strings.Builder
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// shortened bounds a name from a request: it might be a token gone astray.
func shortened(name string) string {
	const most = 40
	if len(name) <= most {
		return name
	}
	return name[:most] + "..."
}
