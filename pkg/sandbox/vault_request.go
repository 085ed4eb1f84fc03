package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A vaultOperation is what Vault makes of a method.
type vaultOperation string

const (
	vaultRead   vaultOperation = "read"
	vaultWrite  vaultOperation = "update"
	vaultList   vaultOperation = "list"
	vaultDelete vaultOperation = "delete"
)

// A vaultRequest is one that was understood.
type vaultRequest struct {
	operation vaultOperation
	path      string // without /v1/ and the namespace
	namespace string // of the header
	data      map[string]any
	bearer    string
	wrapTTL   time.Duration
	address   netip.Addr

	id    string
	space *vaultSpace
	token *vaultToken // nil: none, or none that is good
	route string      // its name, for the log
}

// text returns a parameter as the server reads text: numbers and booleans are
// text too.
func (q *vaultRequest) text(name string) string {
	switch value := q.data[name].(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	case bool:
		if value {
			return "1"
		}
		return "0"
	}
	return ""
}

// checkText refuses a parameter that no text can be made of.
func (q *vaultRequest) checkText(name string) error {
	switch value := q.data[name].(type) {
	case []any, map[string]any:
		return invalidField(name, fmt.Sprintf("'' expected type 'string', got unconvertible type '%T', value: '%v'", value, value))
	}
	return nil
}

// duration returns a parameter that is seconds, or a number with its unit.
func (q *vaultRequest) duration(name string) (time.Duration, error) {
	text := q.text(name)
	if text == "" {
		return 0, nil
	}
	d, err := vaultDuration(text)
	if err != nil {
		return 0, invalidField(name, err.Error())
	}
	return d, nil
}

// invalidField is what the server says of a parameter of the wrong type.
func invalidField(name, why string) error {
	return vaultInvalid(fmt.Sprintf("Field validation failed: error converting input for field %q: %s", name, why))
}

// ignored is the warning about parameters that an endpoint does not know.
func (q *vaultRequest) ignored(known ...string) []string {
	unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(q.data)), func(name string) bool { return slices.Contains(known, name) })
	if len(unknown) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("Endpoint ignored these unrecognized parameters: %v", unknown)}
}

func vaultDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// cleanVaultPath is where a path with doubled slashes or dots leads.
func cleanVaultPath(r *http.Request) (string, bool) {
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		return "", false
	}
	clean := path.Clean(r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/") && clean != "/" {
		clean += "/"
	}
	if clean == r.URL.Path {
		return "", false
	}
	u := url.URL{Path: clean, RawQuery: r.URL.RawQuery}
	return u.String(), true
}

// readVaultRequest understands a request. It comes with what is known even
// where there is an error, for the answer.
func readVaultRequest(r *http.Request) (*vaultRequest, error) {
	q := &vaultRequest{route: "request", id: newUUID(), namespace: r.Header.Get("X-Vault-Namespace")}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		return q, &vaultRefusal{status: http.StatusNotFound}
	}
	q.path = rest
	if err := q.readMethod(r); err != nil {
		return q, err
	}
	q.bearer = vaultBearer(r)
	if ttl := r.Header.Get("X-Vault-Wrap-TTL"); ttl != "" {
		d, err := vaultDuration(ttl)
		if err == nil && d < 0 {
			err = errors.New("requested wrap ttl cannot be negative")
		}
		if err != nil {
			return q, vaultInvalid("error parsing X-Vault-Wrap-TTL header: " + err.Error())
		}
		q.wrapTTL = d
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	q.address, _ = netip.ParseAddr(host) // none is in no block of addresses
	return q, nil
}

func (q *vaultRequest) readMethod(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, "LIST", http.MethodDelete:
		q.data = map[string]any{}
		for name, values := range r.URL.Query() {
			q.data[name] = values[0]
		}
		q.operation = map[string]vaultOperation{
			http.MethodGet: vaultRead, "LIST": vaultList, http.MethodDelete: vaultDelete,
		}[r.Method]
		if list, err := strconv.ParseBool(r.URL.Query().Get("list")); err == nil && list && r.Method == http.MethodGet {
			q.operation = vaultList
			delete(q.data, "list")
		}
		if q.operation == vaultList && !strings.HasSuffix(q.path, "/") {
			q.path += "/"
		}
		return nil
	case http.MethodPost, http.MethodPut:
		q.operation = vaultWrite
	default:
		return &vaultRefusal{status: http.StatusMethodNotAllowed}
	}
	return q.readBody(r)
}

// readBody takes JSON whatever the Content-Type says, unless it is a form and
// does not look like JSON.
func (q *vaultRequest) readBody(r *http.Request) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil {
		return vaultInvalid("error reading data")
	}
	if len(body) > maxRequest {
		return &vaultRefusal{status: http.StatusRequestEntityTooLarge, texts: []string{"http: request body too large"}}
	}
	text := strings.TrimLeft(string(body), " \t\r\n")
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && media == "application/x-www-form-urlencoded" && text != "" && text[0] != '{' && text[0] != '[' {
		form, err := url.ParseQuery(text)
		if err != nil {
			return vaultInvalid("error parsing form data")
		}
		q.data = map[string]any{}
		for name, values := range form {
			q.data[name] = strings.Join(values, ",")
		}
		return nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&q.data); err != nil && !errors.Is(err, io.EOF) {
		return vaultInvalid("failed to decode JSON input: " + err.Error())
	}
	if q.data == nil {
		q.data = map[string]any{}
	}
	return nil
}

// vaultBearer returns the token that a request is made with.
func vaultBearer(r *http.Request) string {
	if token := r.Header.Get("X-Vault-Token"); token != "" {
		return token
	}
	for _, value := range r.Header.Values("Authorization") {
		if token, ok := strings.CutPrefix(value, "Bearer "); ok {
			return strings.TrimSpace(token)
		}
	}
	return ""
}

// resolve finds the namespace, which may be in the header, at the beginning of
// the path, or in both.
func (v *vault) resolve(q *vaultRequest) error {
	name := strings.Trim(q.namespace, "/")
	if name == "root" {
		name = ""
	}
	if name != "" {
		name += "/"
	}
	if q.space = v.spaces[name]; q.space == nil {
		return vaultNotFound("namespace not found")
	}
	for prefix, space := range v.spaces {
		inner, below := strings.CutPrefix(prefix, name)
		if rest, ok := strings.CutPrefix(q.path, inner); below && inner != "" && ok {
			q.space, q.path = space, rest
		}
	}
	return nil
}
