package policy

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// CaseFile is what 'policy test' runs: documents, and which tokens each lets in.
type CaseFile struct {
	Documents []CaseDocument `yaml:"documents"`
}

// CaseDocument is one document and its cases. One of AWS, GCP and Vault names its
// file, from the directory of the case file.
type CaseDocument struct {
	Name  string `yaml:"name"` // "": the file's
	AWS   string `yaml:"aws"`
	GCP   string `yaml:"gcp"`
	Vault string `yaml:"vault"`

	RoleARN         string `yaml:"role-arn"`          // AWS
	RoleSessionName string `yaml:"role-session-name"` // AWS
	IAMPolicy       string `yaml:"iam-policy"`        // GCP: the service account's policy, a file
	Config          string `yaml:"config"`            // Vault: the auth mount's configuration, a file

	Cases []Case `yaml:"cases"`
}

// Case is a token and the verdict that is expected for it.
type Case struct {
	Name   string    `yaml:"name"`
	Expect Verdict   `yaml:"expect"`
	Reason string    `yaml:"reason"` // words that the explanation has to have
	Token  CaseToken `yaml:"token"`
}

// CaseToken is a job's token: a variant of the sample's, or a file of claims.
type CaseToken struct {
	Version    string         `yaml:"version"` // v1 or v2; "": both have to be judged so
	ClaimsFile string         `yaml:"claims-file"`
	Org        string         `yaml:"org"`
	Project    string         `yaml:"project"`
	User       string         `yaml:"user"`
	Origin     string         `yaml:"vcs-origin"`
	Branch     string         `yaml:"branch"`
	Tag        string         `yaml:"tag"`
	Fork       bool           `yaml:"fork"`
	Webhook    bool           `yaml:"webhook"`
	SSHRerun   bool           `yaml:"ssh-rerun"`
	RootIssuer bool           `yaml:"root-issuer"`
	Audience   string         `yaml:"audience"`
	Claims     map[string]any `yaml:"claims"` // set last
}

// CaseResult is what became of one token of a case.
type CaseResult struct {
	Document, Case, Version string // Version is V1, V2, or "" for claims of a file
	Want, Got               Verdict
	Failure                 string // "": it is as expected
	Reason                  string
}

// RunCases judges every case of a case file, whose documents are of the languages.
// read returns a file that it names.
// Errors are fault.Usage, with line and column.
func RunCases(b []byte, read Reader, now time.Time, languages ...Language) ([]CaseResult, error) {
	f, err := parseCases(b)
	if err != nil {
		return nil, err
	}
	var all []CaseResult
	for i, d := range f.Documents {
		judge, err := d.open(languages, read, now)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		for j, c := range d.Cases {
			results, err := c.run(d, judge, read, now)
			if err != nil {
				return nil, fmt.Errorf("document %d, case %d: %w", i+1, j+1, err)
			}
			all = append(all, results...)
		}
	}
	if len(all) == 0 {
		return nil, fault.New(fault.Usage, "the file has no case").
			Hint("it has documents, and each of them cases: see docs/policy.md")
	}
	return all, nil
}

// A Language is one of the trust languages, for RunCases: how a document of it is
// read and by what its tokens are judged.
type Language struct {
	Name    string   // the key under which a case file names a document of it: "aws"
	Options []string // the other keys that go with such a document: "role-arn"
	Open    func(CaseDocument, Reader, time.Time) (func(Claims) Judgement, error)
}

// Reader returns the content of a file that a case file names.
type Reader func(path string) ([]byte, error)

// open reads the document and returns what judges by it.
func (d CaseDocument) open(languages []Language, read Reader, now time.Time) (func(Claims) Judgement, error) {
	files := map[string]string{"aws": d.AWS, "gcp": d.GCP, "vault": d.Vault}
	var named []Language
	for _, l := range languages {
		if files[l.Name] != "" {
			named = append(named, l)
		}
	}
	if len(named) != 1 {
		return nil, fault.New(fault.Usage, "it names %d files with aws, gcp or vault, and has to name one", len(named))
	}
	for _, option := range []struct{ name, value string }{
		{"role-arn", d.RoleARN}, {"role-session-name", d.RoleSessionName}, {"iam-policy", d.IAMPolicy}, {"config", d.Config},
	} {
		if option.value != "" && !slices.Contains(named[0].Options, option.name) {
			return nil, fault.New(fault.Usage, "%s does not go with this kind of document", option.name)
		}
	}
	return named[0].Open(d, read, now)
}

// ReadDocument reads a document from a file; without a path there is none.
func ReadDocument[T any](read Reader, path string, parse func([]byte) (*T, error)) (*T, error) {
	if path == "" {
		return nil, nil
	}
	b, err := read(path)
	if err != nil {
		return nil, err
	}
	d, err := parse(b)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%q: %w", path, err)
	}
	return d, nil
}

func (c Case) run(d CaseDocument, judge func(Claims) Judgement, read Reader, now time.Time) ([]CaseResult, error) {
	switch c.Expect {
	case Allow, Deny, Undecided:
	default:
		return nil, fault.New(fault.Usage, "expect: %q is none of allow, deny, undecided", c.Expect)
	}
	tokens, err := c.Token.claims(read, now)
	if err != nil {
		return nil, err
	}
	var all []CaseResult
	for _, t := range tokens {
		j := judge(t.claims)
		r := CaseResult{Document: first(d.Name, d.AWS+d.GCP+d.Vault), Case: c.Name, Version: t.version, Want: c.Expect, Got: j.Verdict, Reason: j.Reason}
		switch {
		case j.Verdict != c.Expect:
			r.Failure = fmt.Sprintf("the verdict is %s, expected %s", j.Verdict, c.Expect)
		case !j.says(c.Reason):
			r.Failure = fmt.Sprintf("the explanation does not say %q", c.Reason)
		}
		all = append(all, r)
	}
	return all, nil
}

type caseClaims struct {
	version string
	claims  Claims
}

func (t CaseToken) claims(read Reader, now time.Time) ([]caseClaims, error) {
	if t.ClaimsFile != "" {
		c, err := ReadDocument(read, t.ClaimsFile, func(b []byte) (*Claims, error) {
			c, err := ParseClaims(b)
			return &c, err
		})
		if err != nil {
			return nil, err
		}
		return []caseClaims{{"", *c}}, nil
	}
	v := ci.Variant{
		Org: t.Org, Project: t.Project, User: t.User, Origin: t.Origin, Branch: t.Branch, Tag: t.Tag, Fork: t.Fork,
		Webhook: t.Webhook, SSHRerun: t.SSHRerun, RootIssuer: t.RootIssuer, Audience: t.Audience, Claims: map[string]json.RawMessage{},
	}
	for name, value := range t.Claims {
		b, err := json.Marshal(value)
		if err != nil {
			return nil, fault.New(fault.Usage, "the claim %q has no value that JSON has", name)
		}
		v.Claims[name] = b
	}
	if err := v.Check(); err != nil {
		return nil, err
	}
	v1, v2 := ClaimsOf(v, now)
	switch strings.ToLower(t.Version) {
	case "v1":
		return []caseClaims{{"V1", v1}}, nil
	case "v2":
		return []caseClaims{{"V2", v2}}, nil
	case "":
		return []caseClaims{{"V1", v1}, {"V2", v2}}, nil
	}
	return nil, fault.New(fault.Usage, "version: %q is neither v1 nor v2", t.Version)
}

// says reports whether the explanation has the words.
func (j Judgement) says(words string) bool {
	if words == "" || strings.Contains(j.Reason, words) {
		return true
	}
	for _, c := range j.Checks {
		for _, text := range append([]string{c.Name, c.Wanted, c.Got, c.Reason}, c.Hints...) {
			if strings.Contains(text, words) {
				return true
			}
		}
	}
	return false
}

// JUnit returns the results as the XML that CI systems read: a suite for each
// document, a case for each token.
func JUnit(all []CaseResult) ([]byte, error) {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	type suite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	out := struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Suites   []*suite `xml:"testsuite"`
	}{}
	byName := map[string]*suite{}
	for _, r := range all {
		s := byName[r.Document]
		if s == nil {
			s = &suite{Name: r.Document}
			byName[r.Document] = s
			out.Suites = append(out.Suites, s)
		}
		c := testcase{Class: r.Document, Name: r.Title()}
		if r.Failure != "" {
			c.Failure = &failure{r.Failure, r.Reason}
			s.Failures++
			out.Failures++
		}
		s.Cases = append(s.Cases, c)
		s.Tests++
		out.Tests++
	}
	b, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot write XML")
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

// Title is the case's name, with the token's version where both were judged.
func (r CaseResult) Title() string {
	name := first(r.Case, string(r.Want))
	if r.Version != "" {
		name += " (" + r.Version + ")"
	}
	return name
}

func first(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
