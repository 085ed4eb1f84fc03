// Package aws exchanges the job's token for AWS credentials (STS
// AssumeRoleWithWebIdentity, then AssumeRole for each chained role), puts them
// into the forms that AWS's tools read, and explains AWS's refusals.
package aws

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// What STS accepts (its API reference).
const (
	minDuration      = 15 * time.Minute
	maxDuration      = 12 * time.Hour
	maxChainDuration = time.Hour
	maxPolicy        = 2048 // characters of the inline policy and the policy ARNs together
	maxPolicyARNs    = 10
	maxSessionName   = 64
	minSessionName   = 2
)

// Options are the AWS options as the user gave them, each from its flag or its
// environment variable.
type Options struct {
	RoleARN           string   // --role-arn
	SessionName       string   // --role-session-name
	Duration          string   // --session-duration: seconds ("1800") or Go's form ("30m"); "" is an hour
	Region            string   // --region
	RegionFrom        string   // where else it is from: the profile of an AWS file; "" for the option
	Policy            string   // --policy: a JSON document, or the name of a file that holds one
	PolicyARNs        []string // --policy-arn
	ChainRoleARNs     []string // --chain-role-arn, in order
	ExternalIDs       []string // --external-id: one of all chained roles, or one of each
	SessionTags       []string // --session-tag: KEY=VALUE
	TransitiveTagKeys []string // --transitive-tag-key
	SourceIdentity    string   // --source-identity
	AllowedAccounts   []string // --allowed-account-id

	// Via says that the first role is assumed with another role's credentials
	// (AssumeRoleWith), and not with the token: it is a chained one.
	Via bool
	// Read reads the files that the options and variables name. Nil: files.Read.
	Read func(path string, limit int64) ([]byte, error)
}

func (o Options) read(path string, limit int64) ([]byte, error) {
	if o.Read == nil {
		return files.Read(path, limit)
	}
	return o.Read(path, limit)
}

// Exchange is a request that is resolved: nothing in it can be wrong any more
// that this machine could know.
type Exchange struct {
	// Notes say what was changed on the user's behalf.
	Notes []fault.Message
	// Region is the region's name; "" when none is known.
	Region string

	roles      []role // the first by web identity, the others chained
	session    string
	duration   time.Duration
	policy     string
	policyFile string // that the policy is from; "": the option is the policy
	regionFrom string // the profile that Region is from; "": the option
	policyARNs []string
	chained    chainRequest
	via        bool // the first role is a chained one
	accounts   []string
	endpoint   endpoint
}

// endpoint is what decides where STS is called.
type endpoint struct {
	url             string // "": by the region
	host, from      string // of url, and the variable that named it
	fips, dualStack bool
	caBundle        []byte // nil: the system's roots
}

// Resolve checks the options and what the environment adds to them. Every error
// is a fault.Usage, but for a file that cannot be read.
func (o Options) Resolve(getenv func(string) string) (*Exchange, error) {
	x := &Exchange{Region: o.Region, regionFrom: o.RegionFrom, via: o.Via, policyARNs: o.PolicyARNs, accounts: o.AllowedAccounts}
	for _, settle := range []func(*Exchange) error{
		o.settleRoles, o.settleChain, o.settleAccounts, o.settleDuration, o.settlePolicy,
		func(x *Exchange) error { return x.settleEndpoint(getenv, o.read) },
	} {
		if err := settle(x); err != nil {
			return nil, err
		}
	}
	job, variable := ci.JobName(getenv)
	x.settleSession(o.SessionName, job, variable)
	return x, nil
}

func (o Options) settleRoles(x *Exchange) error {
	if o.RoleARN == "" {
		return fault.New(fault.Usage, "no role: give %s, or set AWS_ROLE_ARN", fault.Option("role-arn")).
			Hint("it is the role that trusts this project's tokens, like arn:aws:iam::111122223333:role/deploy")
	}
	first, err := parseRole(fault.Option("role-arn"), o.RoleARN)
	if err != nil {
		return err
	}
	x.roles = []role{first}
	for _, arn := range o.ChainRoleARNs {
		r, err := parseRole(fault.Option("chain-role-arn"), arn)
		if err != nil {
			return err
		}
		x.roles = append(x.roles, r)
	}
	if err := o.checkRegion(x.roles); err != nil {
		return err
	}
	return nil
}

// checkRegion refuses what is no region, and one in which the roles cannot be. It says
// where a region comes from that nobody typed.
func (o Options) checkRegion(roles []role) error {
	err := checkRegion(o.Region)
	for i := 0; i < len(roles) && err == nil; i++ {
		err = checkPartition(roles[i], o.Region)
	}
	var e *fault.Error
	if o.RegionFrom != "" && errors.As(err, &e) {
		e.Hint("the region is that of %s; %s, AWS_REGION and AWS_DEFAULT_REGION take precedence over it", o.RegionFrom, fault.Option("region"))
	}
	return err
}

// settleAccounts checks the account of the role whose credentials are handed
// out, before any call is made.
func (o Options) settleAccounts(x *Exchange) error {
	for _, id := range o.AllowedAccounts {
		if matches(accountID, id) {
			continue
		}
		e := fault.New(fault.Usage, "%s %q does not have 12 digits", fault.Option("allowed-account-id"), id)
		if matches(exponent, id) || len(id) < 12 {
			e.Hint("in YAML, put an account id in quotes: as a number it loses zeros or becomes an exponent")
		}
		return e
	}
	return x.checkAccount(x.last().account)
}

func (x *Exchange) last() role { return x.roles[len(x.roles)-1] }

func (x *Exchange) checkAccount(id string) error {
	for _, allowed := range x.accounts {
		if id == allowed {
			return nil
		}
	}
	if len(x.accounts) == 0 {
		return nil
	}
	return fault.New(fault.Usage, "the role is in account %s, which %s does not name (%s)", id, fault.Option("allowed-account-id"), strings.Join(x.accounts, ", "))
}

func (o Options) settleDuration(x *Exchange) error {
	x.duration = time.Hour
	if o.Duration != "" {
		d, err := parseDuration(o.Duration)
		if err != nil {
			return err
		}
		x.duration = d
	}
	switch {
	case x.duration < minDuration || x.duration > maxDuration:
		return fault.New(fault.Usage, "%s %s is not within 15m and 12h", fault.Option("session-duration"), o.Duration)
	case o.Via && x.duration > maxChainDuration:
		return fault.New(fault.Usage, "%s %s is too long: AWS limits a chained role's session to 1h", fault.Option("session-duration"), o.Duration)
	case len(x.roles) > 1 && x.duration > maxChainDuration:
		return fault.New(fault.Usage, "%s %s is too long for %s: AWS limits a chained role's session to 1h", fault.Option("session-duration"), o.Duration, fault.Option("chain-role-arn"))
	}
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return time.Duration(min(n, 1<<30)) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d%time.Second != 0 {
		return 0, fault.New(fault.Usage, "%s %q is not a duration", fault.Option("session-duration"), s).
			Hint("give seconds (1800) or a number with its unit (30m, 1h)")
	}
	return d, nil
}

// settlePolicy reads the session policy and finds what STS would refuse.
func (o Options) settlePolicy(x *Exchange) error {
	size := 0
	for _, arn := range o.PolicyARNs {
		if !matches(policyARN, arn) {
			return fault.New(fault.Usage, "%s %q is not the ARN of a managed policy", fault.Option("policy-arn"), arn).
				Hint("it is like arn:aws:iam::aws:policy/ReadOnlyAccess")
		}
		size += len(arn)
	}
	if len(o.PolicyARNs) > maxPolicyARNs {
		return fault.New(fault.Usage, "%s is given %d times, AWS takes %d", fault.Option("policy-arn"), len(o.PolicyARNs), maxPolicyARNs)
	}
	if o.Policy != "" {
		var err error
		if x.policy, x.policyFile, err = readPolicy(o.Policy, o.read); err != nil {
			return err
		}
		size += len([]rune(x.policy))
	}
	if size > maxPolicy {
		return fault.New(fault.Usage, "the session policies have %d characters together, AWS takes %d", size, maxPolicy).Option("policy")
	}
	return nil
}

// readPolicy returns the document without the white space that STS would count,
// and the name of the file that it is from.
func readPolicy(policy string, read func(string, int64) ([]byte, error)) (text, file string, err error) {
	doc := []byte(policy)
	if text := strings.TrimSpace(policy); !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") {
		// file:// is how the AWS CLI wants it.
		file = strings.TrimPrefix(policy, "file://")
		if doc, err = read(file, 1<<20); err != nil {
			return "", "", err
		}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(doc, &members); err != nil {
		return "", "", fault.New(fault.Usage, "%s is not a JSON object", fault.Option("policy")).
			Hint("give a policy document, or the name of a file that holds one")
	}
	if members["Statement"] == nil {
		return "", "", fault.New(fault.Usage, "%s has no Statement", fault.Option("policy")).
			Hint(`a policy document is like {"Version":"2012-10-17","Statement":[...]}`)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, doc); err != nil {
		return "", "", fault.New(fault.Internal, "cannot compact the policy")
	}
	for _, c := range compact.String() {
		if c > 0xff {
			return "", "", fault.New(fault.Usage, "%s holds the character %q, AWS takes none beyond U+00FF", fault.Option("policy"), c)
		}
	}
	return compact.String(), file, nil
}

// settleSession makes a session name of what is given: AWS shows it in every
// log line, so it should say which job this is.
func (x *Exchange) settleSession(name, job, variable string) {
	from := any(fault.Option("role-session-name"))
	if name == "" {
		name, from = job, variable
	}
	if name == "" {
		name = "oidc-broker"
	}
	x.session = sessionName(name)
	if x.session != name {
		x.Notes = append(x.Notes, fault.Messagef("the session name is %q: AWS does not take %s as it is", x.session, from))
	}
}

const notInSessionName = `[^\w+=,.@-]+`

// sessionName makes name one that STS takes: [\w+=,.@-]{2,64}.
func sessionName(name string) string {
	name = regexp.MustCompile(notInSessionName).ReplaceAllString(name, "-")
	if strings.Trim(name, "-") == "" {
		return "oidc-broker"
	}
	if len(name) < minSessionName {
		return "oidc-broker-" + name
	}
	return name[:min(len(name), maxSessionName)]
}

// settleEndpoint reads what AWS's SDKs read from the environment to find STS.
func (x *Exchange) settleEndpoint(getenv func(string) string, read func(string, int64) ([]byte, error)) error {
	var err error
	if x.endpoint.fips, err = boolean(getenv, "AWS_USE_FIPS_ENDPOINT"); err != nil {
		return err
	}
	if x.endpoint.dualStack, err = boolean(getenv, "AWS_USE_DUALSTACK_ENDPOINT"); err != nil {
		return err
	}
	ignore, err := boolean(getenv, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
	if err != nil {
		return err
	}
	for _, name := range []string{"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"} {
		v := strings.TrimSpace(getenv(name))
		if v == "" || ignore {
			continue
		}
		u, err := url.Parse(v)
		if err != nil || u.Host == "" {
			return fault.New(fault.Usage, "%s is not a URL", name)
		}
		if err := remote.Allowed(u); err != nil {
			return fault.New(fault.Usage, "%s: %w", name, err)
		}
		x.endpoint.url, x.endpoint.host, x.endpoint.from = v, u.Host, name
		break
	}
	if path := strings.TrimSpace(getenv("AWS_CA_BUNDLE")); path != "" {
		if x.endpoint.caBundle, err = read(filepath.Clean(path), 16<<20); err != nil {
			return fault.New(fault.KindOf(err), "%s: %w", "AWS_CA_BUNDLE", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(x.endpoint.caBundle) {
			return fault.New(fault.Usage, "AWS_CA_BUNDLE: no PEM certificate in %q", path)
		}
	}
	return nil
}

// boolean reads a variable that the SDKs take as true or false.
func boolean(getenv func(string) string, name string) (bool, error) {
	switch v := strings.ToLower(strings.TrimSpace(getenv(name))); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, fault.New(fault.Usage, "%s is neither true nor false", name)
}

// client returns c as AWS wants to be called: trusting what AWS_CA_BUNDLE names.
func (x *Exchange) client(c *remote.Client) (*remote.Client, error) {
	other := *c
	other.CAVariable = "AWS_CA_BUNDLE"
	other.From = map[string]any{x.endpoint.host: x.endpoint.from}
	if x.endpoint.caBundle == nil {
		return &other, nil
	}
	rt, err := remote.WithRoots(c.Transport, x.endpoint.caBundle)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%s: %w", "AWS_CA_BUNDLE", err)
	}
	other.Transport = rt
	return &other, nil
}
