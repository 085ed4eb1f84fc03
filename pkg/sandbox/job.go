package sandbox

import (
	"maps"
	"path/filepath"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox/job"
)

// trusting returns c for a job of another CI system: where the user gave no document, the
// clouds trust that job.
func (c Config) trusting(j *job.Job) (Config, error) {
	c.Token = j.Token
	if c.TrustPolicy == nil {
		roles := c.Roles
		if len(roles) == 0 {
			roles = []string{DefaultRole}
		}
		text, err := j.TrustPolicy(roles...)
		if err != nil {
			return c, err
		}
		if c.TrustPolicy, err = iam.Parse(text); err != nil {
			return c, err
		}
	}
	if c.GCPProvider == nil {
		text, err := j.GoogleProvider(DefaultGCPProvider)
		if err != nil {
			return c, err
		}
		if c.GCPProvider, err = wif.Parse(text); err != nil {
			return c, err
		}
	}
	if c.VaultRole == nil {
		text, err := j.VaultRole(jobPolicy)
		if err != nil {
			return c, err
		}
		if c.VaultRole, err = jwtrole.ParseRole(text); err != nil {
			return c, err
		}
	}
	return c, nil
}

// enter makes the job's environment, and returns what issues tokens in it.
func (s *Sandbox) enter(c Config) ([]service, error) {
	if j := s.job; j != nil {
		keys := func(base string) (endpoint, map[string]string) {
			answer, set := s.issuer.open(base)
			delete(set, mintURLEnv) // for CircleCI's stand-in
			return answer, set
		}
		tokens := func(base string) (endpoint, map[string]string) {
			bearer := newUUID()
			s.ledger.add(bearer)
			return j.Open(base, bearer, s.mintFor(j))
		}
		return []service{{"issuer", keys}, {c.Job.CI, tokens}}, s.declare(c, j)
	}
	v1, v2, err := s.issuer.mint(c.Token)
	if err != nil {
		return nil, err
	}
	maps.Copy(s.set, jobEnvironment(c.Token))
	s.set["CIRCLE_OIDC_TOKEN"], s.set["CIRCLE_OIDC_TOKEN_V2"] = v1, v2
	s.set["BASH_ENV"] = filepath.Join(c.Dir, "bash_env")
	if err := files.WriteNew(s.set["BASH_ENV"], nil); err != nil {
		return nil, err
	}
	return []service{{"circleci", s.issuer.open}}, s.standIn(c, "circleci")
}

func (s *Sandbox) standIn(c Config, name string) error {
	if c.Executable == "" {
		return nil
	}
	return job.WriteStandIn(s.bin, name, c.Executable)
}

// mintFor signs fresh tokens of a job.
func (s *Sandbox) mintFor(j *job.Job) job.Mint {
	return func(audience string, ttl time.Duration) (string, error) {
		v := minted(j.Token, audience, false)
		if ttl > 0 {
			v.TTL = ttl
		}
		token, _, err := s.issuer.mint(v)
		return token, err
	}
}

// declare makes the environment of another system's job, with the tokens that its
// configuration declares.
func (s *Sandbox) declare(c Config, j *job.Job) error {
	maps.Copy(s.set, j.Environment())
	for name, audience := range j.Declared(c.GCPProvider.Name()) {
		v := j.Token
		v.Audience = audience
		token, _, err := s.issuer.mint(v)
		if err != nil {
			return err
		}
		s.set[name] = token
	}
	if name := j.File(); name != "" {
		token, _, err := s.issuer.mint(j.Token)
		if err != nil {
			return err
		}
		s.set[name] = filepath.Join(c.Dir, "projected-token")
		if err := files.WriteNew(s.set[name], []byte(token)); err != nil {
			return fault.New(fault.Local, "cannot write the job's token: %w", err)
		}
	}
	if c.Job.CI == "buildkite" {
		return s.standIn(c, "buildkite-agent")
	}
	return nil
}
