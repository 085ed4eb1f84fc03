package remote

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// proxyVariables name the proxy and its exceptions; the first that is set counts,
// as in net/http. http:// is called on loopback alone, which needs no proxy.
var (
	proxyVariables   = []string{"HTTPS_PROXY", "https_proxy"}
	noProxyVariables = []string{"NO_PROXY", "no_proxy"}
)

func firstSet(getenv func(string) string, names []string) (name, value string) {
	for _, name := range names {
		if value := getenv(name); value != "" {
			return name, value
		}
	}
	return "", ""
}

// CheckProxy refuses the variables that name a proxy where they cannot be meant: a
// call would fail at each attempt, or pass the proxy by. The error is a
// fault.Usage; it holds no value, for those have passwords in them.
func CheckProxy(getenv func(string) string) error {
	name, value := firstSet(getenv, proxyVariables)
	if name == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme == "" || u.Host == "" { // proxy.example.com:3128, as net/http and curl take it
		if strings.Contains(value, "://") && err == nil {
			return fault.New(fault.Usage, "%s names a proxy without a host", name).Hint(proxyForm)
		}
		u, err = url.Parse("http://" + value)
	}
	switch {
	case err != nil:
		return fault.New(fault.Usage, "%s is not the address of a proxy", name).Hint(proxyForm)
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		return fault.New(fault.Usage, "%s names a proxy with the scheme %q", name, u.Scheme).
			Hint("http, https, socks5 and socks5h are supported")
	case u.Hostname() == "":
		return fault.New(fault.Usage, "%s names a proxy without a host", name).Hint(proxyForm)
	case u.Port() != "" && !port(u.Port()):
		return fault.New(fault.Usage, "%s names a proxy with the port %q", name, u.Port()).Hint(proxyForm)
	}
	name, value = firstSet(getenv, noProxyVariables)
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); !exception(item) {
			return fault.New(fault.Usage, "%s has %q, which is not a host, an address or a network", name, item).
				Hint("it is a comma-separated list: example.com,.internal.example.com,10.0.0.0/8")
		}
	}
	return nil
}

const proxyForm = "write it as http://proxy.example.com:3128"

func port(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n < 1<<16
}

// exception says whether an item of NO_PROXY can match anything.
func exception(item string) bool {
	if strings.Contains(item, "/") {
		_, err := netip.ParsePrefix(item)
		return err == nil
	}
	if strings.ContainsAny(item, " \t;@?#\"'") {
		return false
	}
	if host, p, err := net.SplitHostPort(item); err == nil {
		return host != "" && port(p)
	}
	return !strings.Contains(item, ":") || net.ParseIP(strings.Trim(item, "[]")) != nil
}

// proxyOf is net/http's choice of a proxy, once the variables are right.
func proxyOf(getenv func(string) string) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if err := CheckProxy(getenv); err != nil {
			return nil, err
		}
		return http.ProxyFromEnvironment(r)
	}
}

// through says which proxy a request goes through, for an error; "" is none.
func (c *Client) through(req *http.Request) string {
	t, ok := c.Transport.(*http.Transport)
	if !ok || t.Proxy == nil {
		return ""
	}
	if u, err := t.Proxy(req); err == nil && u != nil {
		return "the proxy " + u.Host + " that " + c.proxyFrom() + " names"
	}
	return ""
}

// proxyFrom is the variable that the proxy is from.
func (c *Client) proxyFrom() string { return cmp.Or(c.ProxyFrom, "HTTPS_PROXY") }
