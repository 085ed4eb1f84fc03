package aws

import (
	"path/filepath"
	"strings"
	"testing"
)

// conflictRow is an environment and two files, and what the conflicts say.
type conflictRow struct {
	name, env, credentials, config string
	delivery                       Delivery
	want                           []string // a part of each, in order
}

func one(name, region string) Delivery {
	return Delivery{Profiles: []DeliveredProfile{{Name: name, Region: region}}}
}

func conflictRows() []conflictRow {
	process := Delivery{Profiles: []DeliveredProfile{{Name: "p", Process: true}}}
	two := Delivery{Profiles: []DeliveredProfile{{Name: "a", Region: "eu-west-1"}, {Name: "b", Region: "eu-west-2"}}}
	block := one("p", "")
	block.Block, block.BlockKey = true, "ASIABLOCK"
	lines := func(region string, pairs ...string) Delivery {
		d := one("p", region)
		d.BashEnv = map[string]string{}
		for _, pair := range pairs {
			name, value, _ := strings.Cut(pair, "=")
			d.BashEnv[name] = value
		}
		return d
	}
	overridden := lines("", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y")
	overridden.Block, overridden.BlockKey = true, "ASIABLOCK"
	const keys = "aws_access_key_id = a\naws_secret_access_key = b\n"
	return []conflictRow{
		{name: "nothing", delivery: one("p", "eu-west-1")},
		{name: "keys", env: "AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b", delivery: one("p", ""), want: []string{`takes precedence over the profile "p"`}},
		{name: "half a pair", env: "AWS_ACCESS_KEY_ID=a", delivery: one("p", ""), want: []string{"without AWS_SECRET_ACCESS_KEY"}},
		{name: "the other half", env: "AWS_SECRET_ACCESS_KEY=a AWS_SESSION_TOKEN=b AWS_SECURITY_TOKEN=c AWS_CREDENTIAL_EXPIRATION=d", delivery: one("p", "")},
		{name: "old names", env: "AWS_ACCESS_KEY=a AWS_SECRET_KEY=b", delivery: one("p", ""), want: []string{"AWS_ACCESS_KEY is set"}},
		{name: "our block, not read yet", delivery: block, want: []string{"$BASH_ENV holds"}},
		{name: "our block, read already", env: "AWS_ACCESS_KEY_ID=ASIABLOCK AWS_SECRET_ACCESS_KEY=b", delivery: block, want: []string{"$BASH_ENV holds"}},
		{name: "keys in later steps", delivery: lines("", "AWS_ACCESS_KEY_ID=$X", "AWS_SECRET_ACCESS_KEY=$Y"), want: []string{"AWS_ACCESS_KEY_ID is set in $BASH_ENV and takes precedence"}},
		{name: "keys in later steps, after our block", env: "AWS_ACCESS_KEY_ID=ASIABLOCK AWS_SECRET_ACCESS_KEY=b", delivery: overridden, want: []string{"AWS_ACCESS_KEY_ID is set in $BASH_ENV", "$BASH_ENV holds"}},
		{name: "half a pair in later steps", delivery: lines("", "AWS_ACCESS_KEY_ID=x"), want: []string{"is set in $BASH_ENV without AWS_SECRET_ACCESS_KEY"}},
		{name: "another profile in later steps", env: "AWS_PROFILE=p", credentials: "[q]\n" + keys, delivery: lines("", "AWS_PROFILE=q"), want: []string{`AWS_PROFILE is "q" in $BASH_ENV: `}},
		{name: "this profile in later steps", env: "AWS_PROFILE=q", delivery: lines("", "AWS_PROFILE=p", "AWS_PAGER=")},
		{name: "a profile that the shell computes", delivery: lines("", "AWS_PROFILE=$X", "AWS_DEFAULT_PROFILE=`x`")},
		{name: "an empty profile in later steps", delivery: lines("", "AWS_PROFILE="), want: []string{"AWS_PROFILE is set and empty in $BASH_ENV"}},
		{name: "a web identity in later steps", env: "AWS_ROLE_ARN=r", delivery: lines("", "AWS_WEB_IDENTITY_TOKEN_FILE=$X"), want: []string{"are set in $BASH_ENV: the SDKs assume"}},
		{name: "another region in later steps", env: "AWS_REGION=eu-west-1", delivery: lines("eu-west-1", "AWS_REGION=eu-west-2"), want: []string{"AWS_REGION is eu-west-2 in $BASH_ENV, and overrides"}},
		{name: "this region in later steps", env: "AWS_REGION=eu-west-2", delivery: lines("eu-west-1", "AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=$AWS_REGION")},
		{name: "both are another region", env: "AWS_REGION=eu-west-2 AWS_DEFAULT_REGION=eu-west-2", delivery: one("p", "eu-west-1"), want: []string{"AWS_REGION and AWS_DEFAULT_REGION are eu-west-2 in this job, and override the region"}},
		{name: "two regions, of a profile without one", env: "AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-2", delivery: one("p", ""), want: []string{"AWS_REGION is eu-west-1 and AWS_DEFAULT_REGION is eu-west-2"}},
		{name: "web identity", env: "AWS_WEB_IDENTITY_TOKEN_FILE=t AWS_ROLE_ARN=r", delivery: one("p", ""), want: []string{"assume that role"}},
		{name: "web identity without a role", env: "AWS_WEB_IDENTITY_TOKEN_FILE=t", delivery: process, want: []string{"without AWS_ROLE_ARN"}},
		{name: "a role alone", env: "AWS_ROLE_ARN=r AWS_ROLE_SESSION_NAME=s", delivery: one("p", "")},
		{name: "what is asked after a profile", env: "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x AWS_CREDENTIAL_FILE=/y BOTO_CONFIG=/z AWS_EC2_METADATA_DISABLED=true", delivery: one("p", "")},
		{name: "this profile", env: "AWS_PROFILE=p AWS_DEFAULT_PROFILE=p", delivery: one("p", "")},
		{name: "another profile", env: "AWS_PROFILE=q", credentials: "[q]\n" + keys, delivery: one("p", ""), want: []string{`AWS_PROFILE is "q" in this job: the AWS CLI and the SDKs use that profile and not the profile "p"`}},
		{name: "a profile that is not there", env: "AWS_PROFILE=q", delivery: one("p", ""), want: []string{`AWS_PROFILE is "q" in this job, which no AWS file has`}},
		{name: "another one for boto3", env: "AWS_PROFILE=p AWS_DEFAULT_PROFILE=q", delivery: one("p", ""), want: []string{`AWS_DEFAULT_PROFILE is "q"`}},
		{name: "an empty one", env: "AWS_PROFILE=", delivery: one("p", ""), want: []string{"AWS_PROFILE is set and empty"}},
		{name: "one of several", env: "AWS_PROFILE=b", delivery: two},
		{name: "one that assumes a role by it", env: "AWS_PROFILE=q", config: "[profile q]\nrole_arn = r\nsource_profile = p\n", delivery: one("p", "")},
		{name: "one that assumes a role by another", env: "AWS_PROFILE=q", config: "[profile q]\nrole_arn = r\nsource_profile = x\n", credentials: "[x]\n" + keys, delivery: one("p", ""), want: []string{`AWS_PROFILE is "q"`}},
		{name: "this region", env: "AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1", delivery: one("p", "eu-west-1")},
		{name: "no region", env: "AWS_REGION=eu-west-1", delivery: one("p", "")},
		{name: "another region for boto3", env: "AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-2", delivery: one("p", "eu-west-1"), want: []string{"AWS_DEFAULT_REGION is eu-west-2"}},
		{name: "another region of one", env: "AWS_REGION=eu-west-1", delivery: two, want: []string{`overrides the region of the profile "b"`}},
		{name: "a tilde", env: "AWS_CONFIG_FILE=~/x", delivery: one("p", ""), want: []string{"AWS_CONFIG_FILE begins with ~"}},
		{name: "relative", env: "AWS_SHARED_CREDENTIALS_FILE=x", delivery: one("p", ""), want: []string{"relative path"}},
		{name: "[DEFAULT] turns it into a role", config: "[DEFAULT]\nrole_arn = r\nsource_profile = x\n[profile p]\nregion = x\n", delivery: one("p", ""), want: []string{"would use role_arn, source_profile of [DEFAULT]"}},
		{name: "[DEFAULT] turns a process into a web identity", config: "[DEFAULT]\nrole_arn = r\nweb_identity_token_file = x\n[profile p]\nregion = x\n", delivery: process, want: []string{"would use role_arn, web_identity_token_file of [DEFAULT]"}},
		{name: "[DEFAULT] of the credentials file", credentials: "[DEFAULT]\naws_security_token = x\n", delivery: one("p", ""), want: []string{"would use aws_security_token of [DEFAULT]"}},
		{name: "would use keys, which a process comes before of [DEFAULT]", config: "[DEFAULT]\n" + keys, delivery: process},
		{name: "would use settings of [DEFAULT]", config: "[DEFAULT]\nregion = x\noutput = json\n", delivery: one("p", "")},
		{name: "[default] in lower case", config: "[default]\nrole_arn = r\nsource_profile = x\n", delivery: one("p", "")},

		{name: "in an environment nothing of it counts", env: "AWS_PROFILE=q AWS_WEB_IDENTITY_TOKEN_FILE=t AWS_REGION=x", config: "[DEFAULT]\nrole_arn = r\nsource_profile = x\n"},
		{name: "a profile behind our block that is not there", delivery: Delivery{BashEnv: map[string]string{"AWS_PROFILE": "q"}}, want: []string{`AWS_PROFILE is "q" in $BASH_ENV, which no AWS file has`}},
		{name: "a profile behind our block", config: "[profile q]\n", delivery: Delivery{BashEnv: map[string]string{"AWS_PROFILE": "q", "AWS_WEB_IDENTITY_TOKEN_FILE": "t"}}},
		{name: "a session token behind our block", delivery: Delivery{BashEnv: map[string]string{"AWS_SECURITY_TOKEN": "$X"}}, want: []string{"AWS_SECURITY_TOKEN is set in $BASH_ENV"}},
		{name: "a file that botocore refuses", config: "[a]\n[a]\n", want: []string{"refuse to start"}},
		{name: "a default profile that Go refuses", config: "[default]\nsource_profile = x\n", want: []string{`the profile "default" has source_profile without role_arn`}},
		{name: "another profile that Go refuses", config: "[profile q]\nsource_profile = x\n"},
		{name: "a source that Go refuses", config: "[default]\nrole_arn = r\nsource_profile = q\n[profile q]\nrole_arn = s\nsource_profile = gone\n", want: []string{`the profile "q" has a source_profile that is in neither AWS file: "gone"`}},
	}
}

// TestConflicts also demands that each rule of the table is reached.
func TestConflicts(t *testing.T) {
	reached := map[string]bool{}
	for _, row := range conflictRows() {
		t.Run(row.name, func(t *testing.T) {
			d := row.delivery
			d.Files = writeFiles(t, row.credentials, row.config)
			set := map[string]string{}
			for _, v := range strings.Fields(row.env) {
				name, value, _ := strings.Cut(v, "=")
				set[name] = value
			}
			d.Lookup = func(name string) (string, bool) { value, ok := set[name]; return value, ok }
			x := settled(t, Options{RoleARN: "arn:aws:iam::111122223333:role/x"}, env())
			for _, p := range d.Profiles {
				edits := x.Preview(p.Name, d.Files)
				if p.Process {
					var err error
					if edits, err = (Process{"/bin/p", "--x"}).Profile(p.Name, d.Files, ""); err != nil {
						t.Fatal(err)
					}
				}
				d.Config, d.Unreadable = d.Files.ReadConfig(edits...)
			}
			if len(d.Profiles) == 0 {
				d.Config, d.Unreadable = d.Files.ReadConfig()
			}
			got := d.Conflicts()
			for i, c := range got {
				if i >= len(row.want) || !strings.Contains(c.String(), row.want[i]) {
					t.Errorf("unexpected: %s", c)
				}
				if c.Remedy == "" || len("oidc-broker: note: "+filepath.Base(c.Message)) > 160 {
					t.Errorf("no remedy, or too long: %s", c)
				}
			}
			if len(got) < len(row.want) {
				t.Errorf("%d conflicts, want %q", len(got), row.want)
			}
			for _, rule := range conflictRules {
				if (rule.applies == toEnvironment) == (len(d.Profiles) == 0) && len(rule.find(&d)) > 0 {
					reached[rule.name] = true
				}
			}
		})
	}
	for _, rule := range conflictRules {
		if !reached[rule.name] {
			t.Errorf("no row reaches the rule %q", rule.name)
		}
	}
}
