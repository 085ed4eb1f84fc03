package cli

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// What the walk through the checkout is bounded by: a monorepo must not take a
// minute, nor a file of a gigabyte the memory.
const (
	maxLeakFiles  = 20000
	maxLeakDepth  = 12
	maxLeakDir    = 5000     // entries of one directory
	maxLeakHead   = 64 << 10 // bytes of one file
	maxLeakShown  = 20
	dockerIgnored = ".dockerignore"
)

// The kinds of credentials that are told apart by their form.
const (
	leakAWS      = "an AWS access key"
	leakGoogle   = "the private key of a Google service account"
	leakAccess   = "a Google access token"
	leakJWT      = "a token of CircleCI's"
	leakOldJWT   = "an expired token of CircleCI's"
	leakOtherJWT = "a JSON Web Token"
	leakVault    = "a Vault token"
	leakPEM      = "a private key"
)

// A form is what credentials of one kind look like. hint is in every one of them:
// looking for it is far cheaper than the pattern.
type form struct{ kind, hint, pattern string }

func forms() []form {
	return []form{
		{leakAWS, "AKIA", `\bAKIA[A-Z0-9]{16}\b`},
		{leakAWS, "ASIA", `\bASIA[A-Z0-9]{16}\b`},
		{leakOtherJWT, "eyJ", `\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`},
		{leakVault, "hvs.", `\bhvs\.[A-Za-z0-9_-]{20,}`},
		{leakVault, "hvb.", `\bhvb\.[A-Za-z0-9_-]{20,}`},
		{leakAccess, "ya29.", `\bya29\.[A-Za-z0-9_.-]{20,}`},
		{leakPEM, "PRIVATE KEY-----", `-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\\n|[A-Za-z0-9+/=\s])*`},
	}
}

// credentialsIn returns the kinds of credentials in a text, each once.
func credentialsIn(text []byte, now time.Time) []string {
	var kinds []string
	for _, f := range forms() {
		if !bytes.Contains(text, []byte(f.hint)) {
			continue
		}
		for _, found := range regexp.MustCompile(f.pattern).FindAll(text, 64) {
			kind := f.kind
			switch {
			case bytes.HasSuffix(found, []byte("EXAMPLE")): // AWS's documentation
				continue
			case kind == leakOtherJWT:
				kind = kindOfJWT(string(found), now)
			case kind == leakPEM && bytes.Contains(text, []byte(`"private_key"`)):
				kind = leakGoogle
			}
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
}

func kindOfJWT(text string, now time.Time) string {
	t, err := oidc.Parse(text, "it")
	switch {
	case err != nil || !strings.HasPrefix(t.Issuer, oidc.RootIssuer) && t.ProjectID() == "":
		return leakOtherJWT
	case t.Expired(now):
		return leakOldJWT
	}
	return leakJWT
}

// withoutCredentials takes out of a text what has the form of credentials.
func withoutCredentials(text string) string {
	for _, f := range forms() {
		if strings.Contains(text, f.hint) {
			text = regexp.MustCompile(f.pattern).ReplaceAllString(text, "[secret]")
		}
	}
	return text
}

// A leak is a file of the checkout with credentials in it.
type leak struct {
	path  string // below the checkout, with slashes
	what  []string
	minor bool // it lets nobody in, or no longer
}

// leakWalk is what a walk through the checkout found.
type leakWalk struct {
	root       string
	leaks      []leak
	files      int
	cut        bool   // there is more than the bounds allow
	dockerfile string // one that was met
}

func leakChecks() []check {
	return []check{
		{"leak-file", "no credentials in the files of the checkout", leakFiles},
		{"leak-path", "no variable has credentials put into the checkout", leakPaths},
		{"leak-docker", "no credentials in what docker build sends", leakDocker},
	}
}

// lookForLeaks walks the checkout, the upper directories first, and follows no
// symbolic link: one may lead to the whole disk.
func (v *view) lookForLeaks() leakWalk {
	w := leakWalk{root: v.checkout()}
	if w.root == "" {
		return w
	}
	type level struct {
		dir   string // below root, with slashes; "." is root
		depth int
	}
	for queue := []level{{".", 0}}; len(queue) > 0 && v.ctx.Err() == nil; queue = queue[1:] {
		at := queue[0]
		entries, more := readDir(filepath.Join(w.root, filepath.FromSlash(at.dir)))
		w.cut = w.cut || more
		for _, e := range entries {
			name := path.Join(at.dir, e.Name())
			switch {
			case v.toolsOwn(w.root, name):
			case e.IsDir() && (e.Name() == ".git" || e.Name() == "node_modules"):
			case e.IsDir() && at.depth == maxLeakDepth, !e.IsDir() && w.files == maxLeakFiles:
				w.cut = true
			case e.IsDir():
				queue = append(queue, level{name, at.depth + 1})
			case e.Type().IsRegular():
				w.look(v, name)
			}
		}
	}
	return w
}

// readDir returns a directory's entries by name, as many as are looked at.
func readDir(dir string) (entries []fs.DirEntry, more bool) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, false
	}
	defer func() { _ = d.Close() }()
	entries, _ = d.ReadDir(maxLeakDir + 1) // what cannot be read has no entries
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries[:min(len(entries), maxLeakDir)], len(entries) > maxLeakDir
}

// toolsOwn says whether a name stands in a home directory that is itself in the
// checkout, where tools keep their files: those are what the other checks are about.
func (v *view) toolsOwn(root, name string) bool {
	home := v.home()
	if home == "" {
		return false
	}
	rel, err := filepath.Rel(v.abs(home), filepath.Join(root, filepath.FromSlash(name)))
	return err == nil && len(rel) > 1 && rel[0] == '.' && rel[1] != '.'
}

// look looks at one file.
func (w *leakWalk) look(v *view, name string) {
	w.files++
	base := path.Base(name)
	if lower := strings.ToLower(base); w.dockerfile == "" && (strings.HasPrefix(lower, "dockerfile") || strings.HasSuffix(lower, ".dockerfile") || lower == "containerfile") {
		w.dockerfile = name
	}
	text, _, err := v.read(filepath.Join(w.root, filepath.FromSlash(name)), maxLeakHead)
	if err != nil {
		return
	}
	l := leak{path: name}
	for _, kind := range credentialsIn(text, v.now) {
		// Keys and tokens of all sorts lie in test data; these are of a cloud.
		if kind != leakPEM && kind != leakOtherJWT {
			l.what = append(l.what, kind)
		}
	}
	l.minor = len(l.what) > 0 && !slices.ContainsFunc(l.what, func(kind string) bool { return kind != leakOldJWT })
	switch {
	case len(l.what) > 0:
	case base == ".vault-token" && len(text) > 0:
		l.what = []string{leakVault}
	case bytes.Contains(text, []byte(`"external_account"`)) && bytes.Contains(text, []byte(`"credential_source"`)):
		l.what, l.minor = []string{"a Google credential configuration"}, true
	default:
		return
	}
	w.leaks = append(w.leaks, l)
}

func leakFiles(v *view) []finding {
	w := v.leaks()
	var all []finding
	for _, l := range w.leaks[:min(len(w.leaks), maxLeakShown)] {
		f := warns("%s in the checkout holds %s", strconv.Quote(l.path), strings.Join(l.what, " and ")).
			because("it is one 'git add', artifact, cache or image away from everybody").
			remedy("move it out of %s; if it was ever committed, revoke it", v.place(w.root))
		if l.minor {
			f.Severity = remark
			f = f.because("it lets nobody in by itself, but does not belong into a commit or an image").
				remedy("move it out of %s", v.place(w.root))
		}
		all = append(all, f)
	}
	if more := len(w.leaks) - maxLeakShown; more > 0 {
		all = append(all, warns("%s more in the checkout hold credentials", plural(more, "file")).remedy("move them out of %s", v.place(w.root)))
	}
	if w.cut {
		all = append(all, notes("the checkout is larger than what is looked at: %d files were", w.files).
			because("credentials further down are not seen").
			remedy("run doctor in the part that is built, or use a scanner for secrets"))
	}
	if len(all) == 0 && w.root != "" {
		return []finding{passes("no credentials in the first 64 KiB of %s in %s, without .git and node_modules", plural(w.files, "file"), v.place(w.root))}
	}
	return all
}

// below returns a path relative to the checkout, if it is in there.
func (v *view) below(name string) (string, bool) {
	root := v.checkout()
	if root == "" || name == "" {
		return "", false
	}
	rel, err := filepath.Rel(root, v.abs(v.expand(name)))
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// deliveredInto are the files in the checkout that options and variables have
// credentials in.
func (v *view) deliveredInto() (paths, by []string) {
	add := func(what, name string) {
		rel, in := v.below(name)
		if !in || v.toolsOwn(v.checkout(), rel) {
			return
		}
		if info, err := os.Stat(v.abs(v.expand(name))); err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return // nothing lies there
		}
		paths, by = append(paths, rel), append(by, what)
	}
	if v.token.File != "-" {
		add("--token-file", v.token.File)
	}
	for _, name := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BASH_ENV", "BAO_TOKEN_PATH", adcVariable, gcloudVariable} {
		add(name, v.get(name))
	}
	for _, f := range v.google() {
		add("the credential configuration", f.File)
	}
	return paths, by
}

func leakPaths(v *view) []finding {
	paths, by := v.deliveredInto()
	var all []finding
	for i, p := range paths {
		all = append(all, warns("%s names %s, in the checkout", by[i], strconv.Quote(p)).
			because("what is written there is one 'git add', artifact, cache or image away from everybody, and a tool that wants a clean checkout stops").
			remedy("name a place outside, such as the home directory or a temporary one"))
	}
	return all
}

func leakDocker(v *view) []finding {
	w := v.leaks()
	if w.dockerfile == "" {
		return nil
	}
	paths, _ := v.deliveredInto()
	for _, l := range w.leaks {
		paths = append(paths, l.path)
	}
	ignore, _, _ := v.read(filepath.Join(w.root, dockerIgnored), 1<<20) // none ignores nothing
	rules := dockerRules(string(ignore))
	var sent []string
	for _, p := range paths {
		if q := strconv.Quote(p); !ignoredBy(rules, p) && !slices.Contains(sent, q) {
			sent = append(sent, q)
		}
	}
	if len(sent) == 0 {
		return nil
	}
	return []finding{warns("%s would go along with 'docker build' of %s: %s", plural(len(sent), "file")+" with credentials", v.place(w.root), someOf(sent)).
		because("there is a %s; COPY . . puts them into a layer, where they stay, and a remote builder gets them in any case", strconv.Quote(w.dockerfile)).
		remedy("move them out, or name them in %s; pass what a build needs with --secret. A Dockerfile's own .dockerignore, and another context than this directory, are not looked at", dockerIgnored)}
}

// A dockerRule is a line of a .dockerignore.
type dockerRule struct {
	pattern *regexp.Regexp
	but     bool // an exception
}

// dockerRules reads a .dockerignore (Docker's documentation, "Build context").
// A line that is no pattern excludes nothing: docker refuses it.
func dockerRules(text string) []dockerRule {
	var rules []dockerRule
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || len(rules) == 1000 {
			continue
		}
		rest, but := strings.CutPrefix(line, "!")
		rest = strings.TrimPrefix(path.Clean(strings.TrimSpace(rest)), "/")
		if rest == "" || rest == "." || len(rest) > 1000 {
			continue
		}
		if re, err := regexp.Compile(dockerPattern(rest)); err == nil {
			rules = append(rules, dockerRule{re, but})
		}
	}
	return rules
}

// dockerPattern makes a regular expression of a pattern: it takes a file, and
// whatever is below a directory.
func dockerPattern(p string) string {
	var b strings.Builder
	b.WriteString(`^(?s:`)
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '*' && strings.HasPrefix(p[i:], "**"):
			for i+1 < len(p) && p[i+1] == '*' {
				i++
			}
			if i+1 < len(p) && p[i+1] == '/' {
				i++
				b.WriteString(`(?:.*/)?`)
			} else {
				b.WriteString(`.*`)
			}
		case c == '*':
			b.WriteString(`[^/]*`)
		case c == '?':
			b.WriteString(`[^/]`)
		case c == '\\' && i+1 < len(p):
			i++
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		case c == '[' || c == ']' || c == '-' || c == '^':
			b.WriteByte(c)
		case c >= 0x80:
			b.WriteByte(c) // a part of a character, which is none of the pattern's own
		default:
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		}
	}
	b.WriteString(`)(?:/.*)?$`)
	return b.String()
}

// ignoredBy says whether the rules leave a path out. The last one counts.
func ignoredBy(rules []dockerRule, name string) bool {
	ignored := false
	for _, r := range rules {
		if r.but == ignored && r.pattern.MatchString(name) {
			ignored = !r.but
		}
	}
	return ignored
}
