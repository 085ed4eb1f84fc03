package vault

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// settleProxy reads the proxy in front of the server. Its URL may hold a password and
// is never shown.
func (o Options) settleProxy(s *Server) error {
	if o.Proxy == "" {
		return nil
	}
	u, err := url.Parse(o.Proxy)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		return fault.New(fault.Usage, "%s is not the URL of a proxy", fault.Option("proxy-addr")).
			Hint("write it as http://proxy.example.com:3128")
	}
	s.tls.Proxy = u
	return nil
}

// settleHeaders reads the values of the headers that an access proxy wants. They are
// credentials, so that no option has them, but a variable that it names.
func (o Options) settleHeaders(s *Server) error {
	s.headers = map[string]secret.Value{}
	if o.Getenv == nil {
		return nil
	}
	for _, variable := range []string{"VAULT_HEADERS", "BAO_HEADERS"} { // the second one's take precedence
		text := strings.TrimSpace(o.Getenv(variable))
		if text == "" {
			continue
		}
		var all map[string]string
		if json.Unmarshal([]byte(text), &all) != nil {
			return fault.New(fault.Usage, "the variable %s is not a JSON object of texts", variable).
				Hint(`write it as {"CF-Access-Client-Id": "...", "CF-Access-Client-Secret": "..."}`)
		}
		for name, value := range all {
			if err := s.addHeader(variable, name, value); err != nil {
				return err
			}
		}
	}
	for _, text := range o.Headers {
		name, variable, ok := strings.Cut(text, "=")
		if !ok || !isVariable(variable) {
			return fault.New(fault.Usage, "%s %.60q is not NAME=VARIABLE", fault.Option("header"), name).
				Hint("a variable holds the value, which is a credential: %s CF-Access-Client-Secret=CF_ACCESS_CLIENT_SECRET", fault.Option("header"))
		}
		value := strings.TrimSpace(o.Getenv(variable))
		if value == "" {
			return fault.New(fault.Usage, "%s %s: the variable %s is not set", fault.Option("header"), name, variable)
		}
		if err := s.addHeader(fault.Option("header"), name, value); err != nil {
			return err
		}
	}
	return nil
}

// addHeader takes one header, of which neither name nor value could change what the
// request is.
func (s *Server) addHeader(from any, name, value string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return fault.New(fault.Usage, "%s: %.60q cannot be the name of a header", from, name)
	}
	switch lower := strings.ToLower(name); {
	case strings.HasPrefix(lower, "x-vault-"), lower == "host", lower == "content-length", lower == "transfer-encoding", lower == "connection", lower == "upgrade":
		return fault.New(fault.Usage, "%s: the header %s is set by the request itself", from, name)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return fault.New(fault.Usage, "%s: the value of the header %s has a control character", from, name)
	}
	s.headers[name] = secret.New(value)
	return nil
}
