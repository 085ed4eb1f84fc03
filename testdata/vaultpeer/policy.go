package main

import (
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// rules are a policy: capabilities by path. A path that ends with * stands for
// all that begin so.
type rules map[string][]string

var update = []string{"update"}

// builtIn are the policies that every namespace has.
var builtIn = map[string]rules{
	"default": {
		"auth/token/lookup-self": {"read"},
		"auth/token/renew-self":  update,
		"auth/token/revoke-self": update,
		"sys/leases/renew":       update,
		"sys/leases/lookup":      update,
		"sys/wrapping/wrap":      update,
		"sys/wrapping/lookup":    update,
		"sys/wrapping/unwrap":    update,
	},
	wrappingPolicy: {"sys/wrapping/unwrap": update},
}

const wrappingPolicy = "response-wrapping"

func matches(pattern, path string) bool {
	prefix, glob := strings.CutSuffix(pattern, "*")
	return pattern == path || glob && strings.HasPrefix(path, prefix)
}

// allows says whether a token may do op at a path of a namespace. Of the
// patterns that match, the exact one counts, else the longest.
func (t *token) allows(s *space, path string, op logical.Operation) bool {
	if t.isRoot() {
		return true
	}
	inside, ok := t.relative(s, path)
	if !ok {
		return false
	}
	best := ""
	var granted []string
	for _, r := range t.rules() {
		for pattern, capabilities := range r {
			switch {
			case !matches(pattern, inside):
			case pattern == best:
				granted = append(granted, capabilities...)
			case best == "" || best != inside && (pattern == inside || len(pattern) > len(best)):
				best, granted = pattern, slices.Clone(capabilities)
			}
		}
	}
	return slices.Contains(granted, string(op)) && !slices.Contains(granted, "deny")
}

func (t *token) isRoot() bool { return slices.Contains(t.policies, "root") }

func (t *token) rules() []rules {
	var all []rules
	for _, name := range t.policies {
		if r, ok := t.space.policies[name]; ok {
			all = append(all, r)
		} else {
			all = append(all, builtIn[name])
		}
	}
	return all
}

// relative gives a path as the token's namespace sees it. What a token does to
// itself, and leases and wrapping tokens, which name their namespace, are at
// home wherever they are asked for.
func (t *token) relative(s *space, path string) (string, bool) {
	if strings.HasPrefix(path, "auth/token/") || strings.HasPrefix(path, "sys/leases/") || strings.HasPrefix(path, "sys/wrapping/") {
		return path, true
	}
	return strings.CutPrefix(s.path+path, t.space.path)
}

// sees says whether a token may do anything at all below a mount.
func (t *token) sees(m *mount) bool {
	if t.isRoot() {
		return true
	}
	inside, ok := strings.CutPrefix(m.path, t.space.path)
	if !ok {
		return false
	}
	for _, r := range t.rules() {
		for pattern := range r {
			if strings.HasPrefix(pattern, inside) || matches(pattern, inside) {
				return true
			}
		}
	}
	return false
}
