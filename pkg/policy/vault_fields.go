package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// vaultDocument returns the object with a role's or a configuration's members:
// the document itself, or what its data or the named member holds.
func vaultDocument(b []byte, name string) (*node, error) {
	n, err := parseDocument(b)
	if err != nil {
		return nil, err
	}
	if n.kind != object {
		return nil, fault.New(fault.Usage, "%s: the document is %s, not an object", n.at(), n.kind)
	}
	// Readers disagree about which of two counts, and the server takes the last
	// without a word.
	if d := n.duplicate(); d != nil {
		return nil, fault.New(fault.Usage, "%s: %q is there twice", d.at(), d.name)
	}
	if n.get("data") != nil && n.get("request_id") != nil {
		// A server's answer: servers add members with the years.
		inner := n.get("data")
		if inner.kind != object {
			return nil, fault.New(fault.Usage, "%s: \"data\" is %s, not an object", inner.at(), inner.kind)
		}
		inner.served = true
		return inner, nil
	}
	if n.get("data") != nil {
		return vaultInner(n, "data", "request_id", "lease_id", "renewable", "lease_duration", "warnings", "wrap_info", "auth", "mount_type")
	}
	if n.get("role") != nil || n.get("config") != nil {
		if n.get(name) == nil {
			return nil, fault.New(fault.Usage, "%s: the document has no %q", n.at(), name)
		}
		return vaultInner(n, name, "role", "config")
	}
	return n, nil
}

// vaultInner returns the object in a member of an object that has none but the
// known members beside it.
func vaultInner(n *node, name string, beside ...string) (*node, error) {
	for _, m := range n.members {
		if m.name != name && !slices.Contains(beside, m.name) {
			return nil, fault.New(fault.Usage, "%s: beside %q, %q means nothing", m.at(), name, m.name)
		}
	}
	inner := n.get(name)
	if inner.kind != object {
		return nil, fault.New(fault.Usage, "%s: %q is %s, not an object", inner.at(), name, inner.kind)
	}
	return inner, nil
}

// vaultFields reads the members of an object, each of the types that the
// server takes it in; null is as good as none. The first error stays.
type vaultFields struct {
	object *node
	what   string // for messages: role
	read   string // where the server has it
	known  []string
	err    *fault.Error
}

// finish refuses members that were not asked for. In a server's own answer they are no
// slip of the pen: they are returned, and reported as what was not evaluated.
func (f *vaultFields) finish(unknown *[]string) error {
	for _, m := range f.object.members {
		if !slices.Contains(f.known, m.name) && f.object.served {
			*unknown = append(*unknown, m.name)
		} else if !slices.Contains(f.known, m.name) {
			return fault.New(fault.Usage, "%s: a %s has no member %q", m.at(), f.what, m.name).
				Hint("its members are those that vault read -format=json %s prints", f.read)
		}
	}
	if f.err != nil {
		return f.err
	}
	return nil
}

func (f *vaultFields) ignore(names ...string) { f.known = append(f.known, names...) }

// get returns nil where there is nothing to read.
func (f *vaultFields) get(name string) *node {
	f.known = append(f.known, name)
	n := f.object.get(name)
	if f.err != nil || n == nil || n.kind == null {
		return nil
	}
	return n
}

func (f *vaultFields) refuse(n *node, name, want string) {
	got := string(n.kind)
	if n.kind == text {
		got = strconv.Quote(n.text)
	}
	f.err = fault.New(fault.Usage, "%s: %s is %s, not %s", n.at(), name, got, want)
}

// text takes one of the choices, or any text where there are none.
func (f *vaultFields) text(name string, into *string, choices ...string) {
	n := f.get(name)
	switch {
	case n == nil:
	case n.kind != text:
		f.refuse(n, name, string(text))
	case len(choices) > 0 && !slices.Contains(choices, n.text):
		f.refuse(n, name, strings.Join(slices.DeleteFunc(choices, func(s string) bool { return s == "" }), " or "))
	default:
		*into = n.text
	}
}

// list takes a list of texts, or one text in which commas separate them.
func (f *vaultFields) list(name string, into *[]string) {
	n := f.get(name)
	if n == nil {
		return
	}
	all := []string{}
	switch n.kind {
	case text:
		for item := range strings.SplitSeq(n.text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				all = append(all, item)
			}
		}
	case array:
		for _, item := range n.items {
			if item.kind != text {
				f.refuse(item, "an item of "+name, string(text))
				return
			}
			all = append(all, strings.TrimSpace(item.text))
		}
	default:
		f.refuse(n, name, "a list of texts")
		return
	}
	*into = all
}

func (f *vaultFields) addresses(name string, into *[]string) {
	f.list(name, into)
	n := f.object.get(name)
	if f.err != nil || n == nil {
		return
	}
	for _, block := range *into {
		if _, err := vaultCIDR(block); err != nil {
			f.err = fault.New(fault.Usage, "%s: %q in %s is no block of addresses", n.at(), block, name).
				Hint("write it as 192.0.2.0/24")
			return
		}
	}
}

func (f *vaultFields) boolean(name string, into *bool) {
	n := f.get(name)
	if n == nil {
		return
	}
	b, err := strconv.ParseBool(n.text)
	if n.kind != boolean && n.kind != text || err != nil {
		f.refuse(n, name, string(boolean))
		return
	}
	*into = b
}

func (f *vaultFields) count(name string, into *int) {
	n := f.get(name)
	if n == nil {
		return
	}
	i, err := strconv.Atoi(n.text)
	if n.kind != number && n.kind != text || err != nil || i < 0 {
		f.refuse(n, name, "a number of times")
		return
	}
	*into = i
}

// length takes a list of whatever it may be.
func (f *vaultFields) length(name string, into *int) {
	n := f.get(name)
	switch {
	case n == nil:
	case n.kind != array:
		f.refuse(n, name, string(array))
	default:
		*into = len(n.items)
	}
}

// duration takes no negative value; 0 means that there is none.
func (f *vaultFields) duration(name string, into *time.Duration) {
	d := *into
	f.leeway(name, &d)
	if n := f.object.get(name); f.err == nil && d < 0 {
		f.err = fault.New(fault.Usage, "%s: %s is less than zero", n.at(), name)
		return
	}
	if d != 0 {
		*into = d
	}
}

// leeway takes seconds, or a number with its unit: "15m".
func (f *vaultFields) leeway(name string, into *time.Duration) {
	n := f.get(name)
	if n == nil || n.kind == text && n.text == "" {
		return
	}
	d, ok := vaultDuration(n.text)
	if n.kind != number && n.kind != text || !ok {
		f.refuse(n, name, "a duration, in seconds or as 15m")
		return
	}
	*into = d
}

// vaultDuration reads what the server reads: Go's units, and d for days.
func vaultDuration(s string) (time.Duration, bool) {
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
func (f *vaultFields) pairs(name string, into *map[string]string) {
	n := f.get(name)
	if n == nil {
		return
	}
	if n.kind != object {
		f.refuse(n, name, "an object of texts")
		return
	}
	all := map[string]string{}
	for _, m := range n.members {
		if m.value.kind != text {
			f.refuse(m.value, name+"["+strconv.Quote(m.name)+"]", string(text))
			return
		}
		if m.value.text == "role" || slices.Contains(slices.Collect(maps.Values(all)), m.value.text) {
			f.err = fault.New(fault.Usage, "%s: the metadata %q in %s is taken, so that the server does not store the role", m.value.at(), m.value.text, name)
			return
		}
		all[m.name] = m.value.text
	}
	*into = all
}

// boundClaims takes texts, booleans, numbers and lists of them.
func (f *vaultFields) boundClaims(into *map[string]any) {
	const name = "bound_claims"
	n := f.get(name)
	if n == nil {
		return
	}
	if n.kind != object {
		f.refuse(n, name, "an object")
		if n.kind == text {
			f.err = f.err.Hint(`vault write takes bound_claims from a JSON document alone: vault write auth/jwt/role/NAME - <<'EOF'`)
		}
		return
	}
	all := map[string]any{}
	for _, m := range n.members {
		for _, v := range m.value.list() {
			if v.kind != text && v.kind != boolean && v.kind != number {
				f.refuse(v, name+"["+strconv.Quote(m.name)+"]", "text, true or false, a number, or a list of these")
				return
			}
		}
		all[m.name] = m.value.any()
	}
	*into = all
}

// vaultList returns what a bound claim or a token's claim is a list of; a
// single value is a list of itself. It is no list where ok is false.
func vaultList(v any) (all []any, ok bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case string, bool, json.Number:
		return []any{v}, true
	}
	return nil, false
}
