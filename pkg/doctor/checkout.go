package doctor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func checkoutChecks() []check {
	return []check{
		{"leak-path", "no variable or option names a file with credentials in the checkout", credentialsInCheckout},
	}
}

// credentialsInCheckout looks for the files that oidc-broker, and the tools by the same
// variables, write credentials to.
func credentialsInCheckout(v *view) []Finding {
	var all []Finding
	add := func(what, path string) {
		name, inside := v.inCheckout(path)
		if !inside {
			return
		}
		if info, err := os.Stat(v.abs(v.expand(path))); err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return // nothing has been written yet
		}
		all = append(all, warns("%s names %s, in the checkout", what, strconv.Quote(name)).
			because("one 'git add', artifact, cache or image publishes what is written there, and a tool that wants a clean checkout stops").
			remedy("name a place outside, such as the home directory or a temporary one"))
	}
	if v.Finder.File != "-" {
		add("--token-file", v.Finder.File)
	}
	for _, name := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BASH_ENV", "BAO_TOKEN_PATH", adcVariable, gcloudVariable} {
		add(name, v.get(name))
	}
	for _, f := range v.google() {
		add("the credential configuration", f.File)
	}
	return all
}

// inCheckout returns a path relative to the checkout, if it is in there. The dot files
// of a home directory that is itself in the checkout are the tools' usual places.
func (v *view) inCheckout(path string) (name string, inside bool) {
	root := v.checkout()
	if root == "" || path == "" {
		return "", false
	}
	path = v.abs(v.expand(path))
	rel, err := filepath.Rel(root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	if home := v.home(); home != "" {
		below, err := filepath.Rel(v.abs(home), path)
		if err == nil && len(below) > 1 && below[0] == '.' && below[1] != '.' {
			return "", false
		}
	}
	return filepath.ToSlash(rel), true
}
