package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
)

func (c *applyAWS) settle(p *plan, t *target) error {
	if !c.RoleARN.given() {
		return t.mistake(t.at(), "it has no role-arn").Hint("it is the role to assume, like arn:aws:iam::111122223333:role/deploy")
	}
	x, err := c.exchange(p, t)
	if err != nil {
		return err
	}
	t.receiver, t.roles = aws.Audience, x.Roles()
	for i, role := range t.roles {
		call := "AssumeRole " + role
		if i == 0 && t.via == nil {
			call = "AssumeRoleWithWebIdentity " + role
		}
		if x.Region != "" {
			call += " in " + x.Region
		}
		t.calls = append(t.calls, call)
	}
	files, err := c.profileFiles(p, t, x.Region)
	if err != nil {
		return err
	}
	process, err := c.processProfile(p, t, x, files)
	if err != nil {
		return err
	}
	if len(t.files) > 0 {
		p.profiles = append(p.profiles, aws.DeliveredProfile{Name: c.Profile.text, Region: x.Region, Process: process != nil})
		if p.awsEdits, p.awsFiles = append(p.awsEdits, process...), files; process == nil {
			p.awsEdits = append(p.awsEdits, x.Preview(c.Profile.text, files)...)
		}
	}
	t.exchange = func(ctx context.Context, m material) (outcome, error) {
		exchange := func() (aws.Credentials, error) { return x.AssumeRole(ctx, p.clientOf(t), m.token) }
		if t.via != nil {
			exchange = func() (aws.Credentials, error) { return x.AssumeRoleWith(ctx, p.clientOf(t), m.via) }
		}
		got, err := exchange()
		if err != nil {
			return outcome{}, err
		}
		p.progress("%s: assumed %s until %s", t, got.ARN, got.Expiration.Format(time.RFC3339))
		o := outcome{credentials: got, expires: got.Expiration, identity: got.ARN, files: t.files}
		switch {
		case process != nil: // access does not end
			o.edits, o.expires = process, time.Time{}
		case len(t.files) > 0:
			got.Region = x.RegionToWrite(files, c.Profile.text)
			o.edits = got.StaticProfile(c.Profile.text, files)
		}
		return o, nil
	}
	return nil
}

// processProfile returns the edits of a profile whose SDKs call this program, or
// nil where the target writes none. The exchange is made all the same, so that what
// is wrong fails here.
func (c *applyAWS) processProfile(p *plan, t *target, x *aws.Exchange, files aws.Files) ([]files.Edit, error) {
	switch {
	case c.Mode.text != "process" || !t.chosen:
		return nil, nil
	case !c.Profile.given():
		return nil, t.mistake(c.Mode.at, "mode: it has no profile to write")
	case t.via != nil:
		return nil, t.mistake(c.Mode.at, "mode process: what renews by itself begins with the job's token, and not with %q", t.via.name).
			Hint("list the roles: role-arn is the first of %s, and chain-role-arn has the others in order", t.via)
	}
	edits, err := (&awsRun{app: p.app}).processProfile(x, t.token, c.Profile.text, files)
	if err != nil {
		return nil, p.located(t, err)
	}
	return edits, nil
}

// exchange settles the options, with what the environment adds to them.
func (c *applyAWS) exchange(p *plan, t *target) (*aws.Exchange, error) {
	policy := c.Policy.text
	if policy != "" && !strings.HasPrefix(policy, "{") {
		var err error
		if policy, err = p.filePath(c.Policy, t.String()); err != nil {
			return nil, err
		}
		if err := p.mayRead(policy); err != nil {
			return nil, p.located(t, fault.New(fault.Usage, "%s: %w", fault.Option("policy"), err))
		}
	}
	o := aws.Options{
		RoleARN: c.RoleARN.text, SessionName: c.RoleSessionName.text, Duration: c.SessionDuration.text, Region: c.Region.text,
		Policy: policy, PolicyARNs: texts(c.PolicyARN), ChainRoleARNs: texts(c.ChainRoleARN), ExternalIDs: texts(c.ExternalID),
		SessionTags: texts(c.SessionTag), TransitiveTagKeys: texts(c.TransitiveTagKey), SourceIdentity: c.SourceIdentity.text,
		AllowedAccounts: texts(c.AllowedAccountID), Via: t.via != nil, Read: p.readFile,
	}
	if err := p.fromEnvironment("region", &o.Region, "AWS_REGION", "AWS_DEFAULT_REGION"); err != nil {
		return nil, err
	}
	if c.Profile.given() {
		p.regionOfProfiles(&o, c.Profile.text)
	} else {
		p.regionOfProfiles(&o)
	}
	if err := p.fromEnvironment("role-session-name", &o.SessionName, "AWS_ROLE_SESSION_NAME"); err != nil {
		return nil, err
	}
	getenv, err := p.environment("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE")
	if err != nil {
		return nil, err
	}
	x, err := o.Resolve(getenv)
	if err != nil {
		return nil, p.located(t, err)
	}
	for _, n := range x.Notes {
		p.noteOnce(n.Named(p.optionNames(c)))
	}
	return x, nil
}

// profileFiles finds the files of the target's profile, if it is to write one.
func (c *applyAWS) profileFiles(p *plan, t *target, region string) (aws.Files, error) {
	if !c.Profile.given() {
		if slices.ContainsFunc(p.targets, func(other *target) bool { return other.via == t }) {
			return aws.Files{}, nil
		}
		return aws.Files{}, t.mistake(t.at(), "it has no profile to write, and no other target comes via it")
	}
	if err := ini.ProfileName(c.Profile.text); err != nil {
		return aws.Files{}, p.located(t, fault.About(err, "profile", ""))
	}
	if !t.chosen {
		return aws.Files{}, nil
	}
	getenv, err := p.environment("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "HOME")
	if err != nil {
		return aws.Files{}, err
	}
	files, err := aws.FindFiles(getenv)
	if err != nil {
		return aws.Files{}, err
	}
	section := "profile " + c.Profile.text
	if c.Profile.text == "default" {
		section = "default"
	}
	if c.Mode.text == "process" {
		t.files = append(t.files, written{files.Config, section, "credential_process"})
	} else {
		t.files = append(t.files, written{files.Credentials, c.Profile.text, "keys"})
	}
	if region != "" {
		t.files = append(t.files, written{files.Config, section, "region " + region})
	}
	if err := p.claim(files.Credentials, claim{t.String(), c.Profile.at, true}); err != nil {
		return files, err
	}
	return files, p.claim(files.Config, claim{t.String(), c.Profile.at, true})
}
