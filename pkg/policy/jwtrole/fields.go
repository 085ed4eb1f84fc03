package jwtrole

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// parseDocument returns the object with a role's or a configuration's members:
// the document itself, or what its data or the named member holds.
func parseDocument(b []byte, name string) (*document.Node, error) {
	n, err := document.Parse(b)
	if err != nil {
		return nil, err
	}
	if n.Kind != document.Object {
		return nil, fault.New(fault.Usage, "%s: the document is %s, not an object", n.At(), n.Kind)
	}
	// Readers disagree about which of two counts, and the server takes the last
	// without a word.
	if d := n.Duplicate(); d != nil {
		return nil, fault.New(fault.Usage, "%s: %q is there twice", d.At(), d.Name)
	}
	if n.Get("data") != nil && n.Get("request_id") != nil {
		// A server's answer: servers add members with the years.
		inner := n.Get("data")
		if inner.Kind != document.Object {
			return nil, fault.New(fault.Usage, "%s: \"data\" is %s, not an object", inner.At(), inner.Kind)
		}
		inner.Served = true
		return inner, nil
	}
	if n.Get("data") != nil {
		return inner(n, "data", "request_id", "lease_id", "renewable", "lease_duration", "warnings", "wrap_info", "auth", "mount_type")
	}
	if n.Get("role") != nil || n.Get("config") != nil {
		if n.Get(name) == nil {
			return nil, fault.New(fault.Usage, "%s: the document has no %q", n.At(), name)
		}
		return inner(n, name, "role", "config")
	}
	return n, nil
}

// inner returns the object in a member of an object that has none but the
// known members beside it.
func inner(n *document.Node, name string, beside ...string) (*document.Node, error) {
	for _, m := range n.Members {
		if m.Name != name && !slices.Contains(beside, m.Name) {
			return nil, fault.New(fault.Usage, "%s: beside %q, %q means nothing", m.At(), name, m.Name)
		}
	}
	inner := n.Get(name)
	if inner.Kind != document.Object {
		return nil, fault.New(fault.Usage, "%s: %q is %s, not an object", inner.At(), name, inner.Kind)
	}
	return inner, nil
}

// fields reads the members of an object, each of the types that the
// server takes it in; null is as good as none. The first error stays.
type fields struct {
	object *document.Node
	what   string // for messages: role
	read   string // where the server has it
	known  []string
	err    *fault.Error
}

// finish refuses members that were not asked for. In a server's own answer they are no
// slip of the pen: they are returned, and reported as what was not evaluated.
func (f *fields) finish(unknown *[]string) error {
	for _, m := range f.object.Members {
		if !slices.Contains(f.known, m.Name) && f.object.Served {
			*unknown = append(*unknown, m.Name)
		} else if !slices.Contains(f.known, m.Name) {
			return fault.New(fault.Usage, "%s: a %s has no member %q", m.At(), f.what, m.Name).
				Hint("its members are those that vault read -format=json %s prints", f.read)
		}
	}
	if f.err != nil {
		return f.err
	}
	return nil
}

func (f *fields) ignore(names ...string) { f.known = append(f.known, names...) }

// get returns nil where there is nothing to read.
func (f *fields) get(name string) *document.Node {
	f.known = append(f.known, name)
	n := f.object.Get(name)
	if f.err != nil || n == nil || n.Kind == document.Null {
		return nil
	}
	return n
}

func (f *fields) refuse(n *document.Node, name, want string) {
	got := string(n.Kind)
	if n.Kind == document.Text {
		got = strconv.Quote(n.Text)
	}
	f.err = fault.New(fault.Usage, "%s: %s is %s, not %s", n.At(), name, got, want)
}

// text takes one of the choices, or any text where there are none.
func (f *fields) text(name string, into *string, choices ...string) {
	n := f.get(name)
	switch {
	case n == nil:
	case n.Kind != document.Text:
		f.refuse(n, name, string(document.Text))
	case len(choices) > 0 && !slices.Contains(choices, n.Text):
		f.refuse(n, name, strings.Join(slices.DeleteFunc(choices, func(s string) bool { return s == "" }), " or "))
	default:
		*into = n.Text
	}
}

// list takes a list of texts, or one text in which commas separate them.
func (f *fields) list(name string, into *[]string) {
	n := f.get(name)
	if n == nil {
		return
	}
	all := []string{}
	switch n.Kind {
	case document.Text:
		for item := range strings.SplitSeq(n.Text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				all = append(all, item)
			}
		}
	case document.Array:
		for _, item := range n.Items {
			if item.Kind != document.Text {
				f.refuse(item, "an item of "+name, string(document.Text))
				return
			}
			all = append(all, strings.TrimSpace(item.Text))
		}
	default:
		f.refuse(n, name, "a list of texts")
		return
	}
	*into = all
}

func (f *fields) addresses(name string, into *[]string) {
	f.list(name, into)
	n := f.object.Get(name)
	if f.err != nil || n == nil {
		return
	}
	for _, block := range *into {
		if _, err := cIDR(block); err != nil {
			f.err = fault.New(fault.Usage, "%s: %q in %s is no block of addresses", n.At(), block, name).
				Hint("write it as 192.0.2.0/24")
			return
		}
	}
}

func (f *fields) boolean(name string, into *bool) {
	n := f.get(name)
	if n == nil {
		return
	}
	b, err := strconv.ParseBool(n.Text)
	if n.Kind != document.Boolean && n.Kind != document.Text || err != nil {
		f.refuse(n, name, string(document.Boolean))
		return
	}
	*into = b
}

func (f *fields) count(name string, into *int) {
	n := f.get(name)
	if n == nil {
		return
	}
	i, err := strconv.Atoi(n.Text)
	if n.Kind != document.Number && n.Kind != document.Text || err != nil || i < 0 {
		f.refuse(n, name, "a number of times")
		return
	}
	*into = i
}

// length takes a list of whatever it may be.
func (f *fields) length(name string, into *int) {
	n := f.get(name)
	switch {
	case n == nil:
	case n.Kind != document.Array:
		f.refuse(n, name, string(document.Array))
	default:
		*into = len(n.Items)
	}
}

// duration takes no negative value; 0 means that there is none.
func (f *fields) duration(name string, into *time.Duration) {
	d := *into
	f.leeway(name, &d)
	if n := f.object.Get(name); f.err == nil && d < 0 {
		f.err = fault.New(fault.Usage, "%s: %s is less than zero", n.At(), name)
		return
	}
	if d != 0 {
		*into = d
	}
}

// leeway takes seconds, or a number with its unit: "15m".
func (f *fields) leeway(name string, into *time.Duration) {
	n := f.get(name)
	if n == nil || n.Kind == document.Text && n.Text == "" {
		return
	}
	d, ok := duration(n.Text)
	if n.Kind != document.Number && n.Kind != document.Text || !ok {
		f.refuse(n, name, "a duration, in seconds or as 15m")
		return
	}
	*into = d
}

// duration reads what the server reads: Go's units, and d for days.
func duration(s string) (time.Duration, bool) {
	const most = int64(1<<63-1) / int64(time.Second)
	unit := time.Second
	digits := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		digits, unit = days, 24*time.Hour
	}
	if i, err := strconv.ParseInt(digits, 10, 64); err == nil {
		limit := most * int64(time.Second) / int64(unit)
		return time.Duration(i) * unit, i <= limit && i >= -limit
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// pairs takes an object of texts.
func (f *fields) pairs(name string, into *map[string]string) {
	n := f.get(name)
	if n == nil {
		return
	}
	if n.Kind != document.Object {
		f.refuse(n, name, "an object of texts")
		return
	}
	all := map[string]string{}
	for _, m := range n.Members {
		if m.Value.Kind != document.Text {
			f.refuse(m.Value, name+"["+strconv.Quote(m.Name)+"]", string(document.Text))
			return
		}
		if m.Value.Text == "role" || slices.Contains(slices.Collect(maps.Values(all)), m.Value.Text) {
			f.err = fault.New(fault.Usage, "%s: the metadata %q in %s is taken, so that the server does not store the role", m.Value.At(), m.Value.Text, name)
			return
		}
		all[m.Name] = m.Value.Text
	}
	*into = all
}

// boundClaims takes texts, booleans, numbers and lists of them.
func (f *fields) boundClaims(into *map[string]any) {
	const name = "bound_claims"
	n := f.get(name)
	if n == nil {
		return
	}
	if n.Kind != document.Object {
		f.refuse(n, name, "an object")
		if n.Kind == document.Text {
			f.err = f.err.Hint(`vault write takes bound_claims from a JSON document alone: vault write auth/jwt/role/NAME - <<'EOF'`)
		}
		return
	}
	all := map[string]any{}
	for _, m := range n.Members {
		for _, v := range m.Value.List() {
			if v.Kind != document.Text && v.Kind != document.Boolean && v.Kind != document.Number {
				f.refuse(v, name+"["+strconv.Quote(m.Name)+"]", "text, true or false, a number, or a list of these")
				return
			}
		}
		all[m.Name] = m.Value.Any()
	}
	*into = all
}

// list returns what a bound claim or a token's claim is a list of; a
// single value is a list of itself. It is no list where ok is false.
func list(v any) (all []any, ok bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case string, bool, json.Number:
		return []any{v}, true
	}
	return nil, false
}
