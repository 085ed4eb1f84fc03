package iam

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

const (
	accountForm   = `^[0-9]{12}$`
	partitionForm = `^aws(?:-[a-z]+)*$`
	roleForm      = `^[\w+=,.@-]{1,64}$`
	// audienceForm leaves out what is a wildcard or a variable in a policy,
	// and IAM's limit for a client id is 255.
	audienceForm = `^[A-Za-z0-9_.~:/@+=,#&;%!()-]{1,255}$`
)

// An Setup is what AWS has to be told to trust a job's tokens.
type Setup struct {
	policy.Job
	AccountID string // of the role, 12 digits
	RoleName  string // of the role that is made
	Partition string // empty: aws
	// Projects and Origins are those of Job and more: one repository of all
	// projects, several of one project, or one of each project in order. Empty:
	// Job's alone.
	Projects, Origins []string
	// ExistingProvider says that the account has the provider of the issuer.
	ExistingProvider bool

	jobs []policy.Job // settled: what is admitted
}

// Formats returns the names that Setup.Write knows.
func Formats() []string { return []string{"json", "terraform", "cloudformation", "cli"} }

// Write returns the set-up in a format: the trust policy alone (json), or what
// makes the OpenID Connect provider and the role. Errors are fault.Usage.
func (s Setup) Write(format string) (policy.Setup, error) {
	if !slices.Contains(Formats(), format) {
		return policy.Setup{}, fault.New(fault.Usage, "unknown format %q", format).
			Hint("known are %s", strings.Join(Formats(), ", "))
	}
	s, err := s.settle(format)
	if err != nil {
		return policy.Setup{}, err
	}
	var text string
	switch format {
	case "json":
		text = quoteJSON(s.document(s.providerARN())) + "\n"
	case "terraform":
		text = s.terraform()
	case "cloudformation":
		text = quoteJSON(s.cloudFormation()) + "\n"
	case "cli":
		text = s.script()
	}
	notes, err := s.sizeNotes()
	return policy.Setup{Text: []byte(text), Notes: append(s.notes(format), notes...)}, err
}

// settle checks what the format needs. Terraform and CloudFormation learn the
// account from whoever runs them.
func (s Setup) settle(format string) (Setup, error) {
	var err error
	if s.jobs, err = s.settleJobs(); err != nil {
		return s, err
	}
	s.Job = s.jobs[0]
	is := func(form, value string) bool { return regexp.MustCompile(form).MatchString(value) }
	switch {
	case s.AccountID == "" && (format == "json" || format == "cli"):
		return s, fault.New(fault.Usage, "--account-id is missing").
			Hint("`aws sts get-caller-identity` shows the account's 12 digits")
	case s.AccountID != "" && !is(accountForm, s.AccountID):
		return s, fault.New(fault.Usage, "the account id %q does not have 12 digits", s.AccountID)
	case s.RoleName == "" && format != "json":
		return s, fault.New(fault.Usage, "--role-name is missing")
	case s.RoleName != "" && !is(roleForm, s.RoleName):
		return s, fault.New(fault.Usage, "%q is not the name of a role", s.RoleName).
			Hint("it has at most 64 characters of A-Z a-z 0-9 + = , . @ _ -, and no path")
	case s.Partition != "" && !is(partitionForm, s.Partition):
		return s, fault.New(fault.Usage, "%q is not a partition", s.Partition).
			Hint("it is aws, aws-cn, aws-us-gov, ...")
	case strings.ContainsFunc(s.VCSRef, func(r rune) bool { return r > 0xff }):
		return s, fault.New(fault.Usage, "--vcs-ref %q cannot be written in a trust policy", s.VCSRef).
			Hint("IAM takes no characters beyond Latin-1 in a policy")
	case !is(audienceForm, s.Audience):
		return s, fault.New(fault.Usage, "the audience %q cannot be written in a trust policy", s.Audience).
			Hint("it has at most 255 letters, digits and -_.~:/@+=,#&;%%!()")
	}
	if s.Partition == "" {
		s.Partition = "aws"
	}
	return s, nil
}

// provider is the issuer as IAM names it.
func (s Setup) provider() string { return strings.TrimPrefix(ci.OrgIssuer(s.Org), "https://") }

func (s Setup) providerARN() string {
	return arnParts{s.Partition, s.AccountID, s.provider()}.String()
}

// subjects are the patterns of sub; none where any repository may be built. All
// that comes before the only * of one is fixed, or masks of UUIDs: a * could be
// filled with the names of the parts behind it.
func (s Setup) subjects() []string {
	var all []string
	for _, j := range s.jobs {
		if j.VCSOrigin == "" {
			return nil
		}
		ref := j.VCSRef
		if ref == "" {
			ref = "*"
		}
		all = append(all, "org/"+j.Org+"/project/"+j.Project+"/user/"+mask+vcsOrigin+j.VCSOrigin+vcsRef+ref)
	}
	return all
}

// projects are the ids, each once.
func (s Setup) projects() []string {
	var all []string
	for _, j := range s.jobs {
		if !slices.Contains(all, j.Project) {
			all = append(all, j.Project)
		}
	}
	return all
}

// The documents as AWS has them, in the order that people read them.
type (
	trust struct {
		Version   string
		Statement []trusted
	}
	trusted struct {
		Effect    string
		Principal struct{ Federated any }
		Action    string
		Condition trustedIf
	}
	trustedIf struct {
		StringEquals map[string]any
		StringLike   map[string]any `json:",omitempty"`
	}
)

// document is the trust policy. The project's key keeps out other projects by
// itself; the subject repeats it, since masks and names must stand where
// CircleCI writes them.
func (s Setup) document(provider any) trust {
	t := trusted{Effect: "Allow", Action: assume}
	t.Principal.Federated = provider
	t.Condition.StringEquals = map[string]any{
		s.provider() + ":aud":                    s.Audience,
		s.provider() + ":" + policy.ClaimProject: oneOrAll(s.projects()),
	}
	if all := s.subjects(); len(all) > 0 {
		t.Condition.StringLike = map[string]any{s.provider() + ":sub": oneOrAll(all)}
	}
	return trust{Version: "2012-10-17", Statement: []trusted{t}}
}

// cloudFormation is a template. The provider's ARN is put together rather than
// asked of the resource, so that the template also serves where the provider
// exists: IAM has one of an issuer in an account. IAM makes a role before its
// provider without complaint, so neither waits for the other.
func (s Setup) cloudFormation() any {
	type object = map[string]any
	provider := object{"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:oidc-provider/" + s.provider()}
	return object{
		"AWSTemplateFormatVersion": "2010-09-09",
		"Description":              "A role for jobs of CircleCI, assumed with their OpenID Connect tokens",
		"Parameters": object{"CreateProvider": object{
			"Type": "String", "Default": strconv.FormatBool(!s.ExistingProvider), "AllowedValues": []string{"true", "false"},
			"Description": "false where the account has the provider " + ci.OrgIssuer(s.Org),
		}},
		"Conditions": object{"ProviderIsMissing": object{"Fn::Equals": []any{object{"Ref": "CreateProvider"}, "true"}}},
		"Resources": object{
			"Provider": object{
				"Type": "AWS::IAM::OIDCProvider", "Condition": "ProviderIsMissing",
				"Properties": object{"Url": ci.OrgIssuer(s.Org), "ClientIdList": []string{s.Audience}},
			},
			"Role": object{
				"Type":       "AWS::IAM::Role",
				"Properties": object{"RoleName": s.RoleName, "AssumeRolePolicyDocument": s.document(provider)},
			},
		},
		"Outputs": object{"RoleArn": object{"Value": object{"Fn::GetAtt": []string{"Role", "Arn"}}}},
	}
}

// script is for sh. Audience and address are given as JSON: the AWS CLI v1
// would fetch what a parameter's https:// value names, and read a file://.
func (s Setup) script() string {
	arn := s.providerARN()
	add := line(map[string]any{"OpenIDConnectProviderArn": arn, "ClientID": s.Audience})
	create := line(map[string]any{"Url": ci.OrgIssuer(s.Org), "ClientIDList": []string{s.Audience}})
	if s.ExistingProvider {
		return fmt.Sprintf(`#!/bin/sh
# Adds the audience to the OpenID Connect provider, and makes the role.
set -eu
aws iam add-client-id-to-open-id-connect-provider --cli-input-json %s
aws iam create-role --role-name %s --assume-role-policy-document %s
`, shell.Word(add), shell.Word(s.RoleName), shell.Word(quoteJSON(s.document(arn))))
	}
	return fmt.Sprintf(`#!/bin/sh
# Makes the OpenID Connect provider, or adds the audience to it, and the role.
set -eu
if aws iam get-open-id-connect-provider --open-id-connect-provider-arn %s >/dev/null 2>&1; then
	aws iam add-client-id-to-open-id-connect-provider --cli-input-json %s
else
	aws iam create-open-id-connect-provider --cli-input-json %s
fi
aws iam create-role --role-name %s --assume-role-policy-document %s
`, shell.Word(arn), shell.Word(add), shell.Word(create), shell.Word(s.RoleName), shell.Word(quoteJSON(s.document(arn))))
}

// notes say what AWS cannot express, and what is left to do.
func (s Setup) notes(format string) []string {
	notes := []string{"the role has no permissions yet: attach a policy"}
	switch {
	case s.ExistingProvider && format == "terraform":
		notes = append(notes, fmt.Sprintf("the client ids of the account's provider %s must have %s: Terraform does not add it here", ci.OrgIssuer(s.Org), s.Audience))
	case s.ExistingProvider:
		format = "" // what is said of a new provider does not apply
	}
	switch format {
	case "json":
		notes = append(notes, fmt.Sprintf("the account needs the OpenID Connect provider %s with the client id %s; the other formats make it", ci.OrgIssuer(s.Org), s.Audience))
	case "terraform":
		if s.ExistingProvider {
			break
		}
		notes = append(notes, "an account has one provider of an issuer: where it exists, give --existing-provider; older versions of Terraform's AWS provider also ask for a thumbprint_list")
	case "cloudformation":
		notes = append(notes, "an account has one provider of an issuer: where it exists, set CreateProvider to false, and add the client id "+s.Audience+" to it; the stack needs --capabilities CAPABILITY_NAMED_IAM")
	}
	if s.Audience != s.Org {
		notes = append(notes, fmt.Sprintf("the tokens that CircleCI gives a job have the audience %s: one for %s has to be minted", s.Org, s.Audience))
	}
	switch s.VCSOrigin {
	case "":
		notes = append(notes, "every branch of the project gets in, whatever repository it builds: a fork's pull request too, if \"Pass secrets to builds from forked pull requests\" is on; with --vcs-origin it does not")
	default:
		notes = append(notes, "only V2 tokens ($CIRCLE_OIDC_TOKEN_V2) get in, for the sub of a V1 token names no repository; pipelines that a custom webhook starts have none, and never get in")
	}
	switch {
	case s.VCSOrigin != "" && s.VCSRef == "":
		notes = append(notes, "every branch and tag of the repository gets in; with --vcs-ref one does")
	case strings.HasPrefix(s.VCSRef, "refs/tags/"):
		notes = append(notes, "protect the tag: whoever may move it chooses the commit that gets in")
	case s.VCSRef != "":
		notes = append(notes, "a branch does not say which configuration ran: keep unversioned configuration off, as it is by default in an organisation")
	}
	return append(notes, "AWS sees neither ssh-rerun nor contexts: a job that somebody is logged in to gets in, and a context's restrictions do not protect the role")
}
