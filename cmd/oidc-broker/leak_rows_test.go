package main

import (
	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

// A leakRow is a command as it is run for leaks. What it must do is said so that a
// row that does nothing fails.
type leakRow struct {
	command, args string   // args without the command; ~ is a blank within one
	before        []string // command lines that are run first
	stdin         string

	exit int    // when all is well
	says string // what is on stdout then
	// prints says that secrets of the clouds' are its output, token that a token of
	// the job's is: they have to be there.
	prints, token bool
	// writes are the files, or how their names begin, that have to hold secrets
	// afterwards, 0600: no other may. during is the same while a child runs.
	writes, during []string
	// child are the variables of its child that have to hold secrets of the clouds':
	// no other may. A child with job has the job's token, too.
	child  []string
	job    bool
	handed string // the variable in which a child is given a token of the job's
	mints  bool   // the token that it takes is not the one of the environment

	calls  bool // a cloud, which may refuse: exit code 4
	second bool // makes a second call, with what the first gave: 4 as well
	online int  // the exit code when it is refused, where that is not 4
}

// childLooks stands for childScript: exec's child, which is looked at while it runs.
const childLooks = "-- sh -c CHILD"

// childScript prints its parent's arguments, says its number, and waits.
const childScript = `tr '\0' '\n' < /proc/$PPID/cmdline; echo "child $$"; read line || exit 0`

const (
	awsFile, bashEnvFile, vaultFile = "aws/credentials", "bash_env", ".vault-token"
	gcpToken, awsCache              = ".config/oidc-broker/gcp/token-", ".cache/oidc-broker/"
	secretApp                       = "--secret secret/data/ci/app~password=DB_PASSWORD"
	chained                         = "--chain-role-arn arn:aws:iam::222233334444:role/deploy"
	// What a change of ours took out of a file may have been a key: it stands with the
	// record for cleanup, of every command that writes.
	record = ".local/state/oidc-broker/"
)

// leakWriters are the commands whose files cleanup takes back.
func leakWriters() []string {
	return []string{
		"aws profile --profile x", "aws profile --profile y --mode process", "aws env --bash-env", "aws credential-process",
		"gcp login", "gcp env --bash-env", "gcp create-cred-config " + sandbox.DefaultGCPProvider + " --output-file=c.json",
		"vault login", "vault env --bash-env " + secretApp, "apply",
	}
}

// leakRows has every command: a new one without a row fails the test.
func leakRows() []leakRow {
	none := []string{}
	apply := []string{awsFile, gcpToken, vaultFile, "app.env"}
	rows := []leakRow{
		{command: "", args: "--version", says: "oidc-broker "},
		{command: "", args: "help", says: "Usage:"},

		{command: "aws", writes: []string{awsFile}, calls: true},
		{command: "aws profile", args: "--profile x", writes: []string{awsFile}, calls: true},
		{command: "aws profile", args: "--profile x --mode process", writes: []string{awsCache}, calls: true},
		{command: "aws env", prints: true, calls: true},
		{command: "aws env", args: "--shell json", prints: true, calls: true},
		{command: "aws env", args: "--bash-env", writes: []string{bashEnvFile}, calls: true},
		{command: "aws exec", args: childLooks, child: []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}, calls: true},
		{command: "aws exec", args: chained + " " + childLooks, child: []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}, calls: true, second: true},
		{command: "aws exec", args: "--refresh " + childLooks, child: []string{endpointToken}, calls: true},
		{command: "aws credential-process", prints: true, writes: []string{awsCache}, calls: true},
		{command: "aws credential-process", args: "--no-cache", prints: true, calls: true},
		{command: "aws whoami", says: "assumed-role/deploy", calls: true, second: true},
		{command: "aws whoami", args: "--audience " + ci.SampleOrg, says: "assumed-role/deploy", job: true, mints: true, calls: true, second: true},

		{command: "gcp", writes: []string{gcpToken}, calls: true, second: true},
		{command: "gcp login", writes: []string{gcpToken}, calls: true, second: true},
		{command: "gcp login", args: "--source executable", calls: true, second: true},
		{command: "gcp env", says: "export GOOGLE_APPLICATION_CREDENTIALS=", writes: []string{gcpToken}, calls: true, second: true},
		{command: "gcp env", args: "--bash-env", writes: []string{gcpToken}, calls: true, second: true},
		{command: "gcp exec", args: childLooks, child: none, during: []string{".cache/oidc-broker/run/oidc-broker-"}, calls: true, second: true},
		{command: "gcp exec", args: "--source executable " + childLooks, child: none, job: true, calls: true, second: true},
		{command: "gcp access-token", prints: true, calls: true, second: true},
		{command: "gcp id-token", args: "--audience-url https://x", prints: true, calls: true, second: true},
		{command: "gcp create-cred-config", args: sandbox.DefaultGCPProvider + " --output-file=c.json", writes: []string{gcpToken}},
		{command: "gcp create-cred-config", args: sandbox.DefaultGCPProvider + " --output-file=c.json --source executable"},
		{command: "gcp executable-source", says: `"success":true`, token: true},

		{command: "vault", writes: []string{vaultFile}, calls: true},
		{command: "vault login", writes: []string{vaultFile}, calls: true},
		{command: "vault token", prints: true, calls: true},
		{command: "vault env", prints: true, calls: true},
		{command: "vault env", args: secretApp, says: "export DB_PASSWORD=", prints: true, calls: true, second: true},
		{command: "vault env", args: "--bash-env " + secretApp, writes: []string{bashEnvFile}, calls: true, second: true},
		{command: "vault exec", args: secretApp + " " + childLooks, child: []string{"DB_PASSWORD"}, calls: true, second: true},
		{command: "vault exec", args: "--keep-token " + childLooks, child: []string{"VAULT_TOKEN"}, job: true, calls: true},
		{command: "vault read", args: "--secret secret/data/ci/app", prints: true, calls: true, second: true},

		{command: "token", says: "audience "},
		{command: "token", args: "--verify", says: "signature"},
		{command: "token", args: "--format json", says: `"iss"`},
		{command: "token", args: "--audience sts.amazonaws.com", says: "sts.amazonaws.com", job: true},

		{command: "token get", args: "--audience x", says: "eyJ", token: true, job: true, mints: true},
		{command: "token exec", args: "--audience x --env TOKEN " + childLooks, child: none, handed: "TOKEN", job: true, mints: true},
		{command: "token exec", args: "--audience x --file TOKEN " + childLooks, child: none, during: []string{".cache/oidc-broker/run/oidc-broker-"}, job: true, mints: true},

		{command: "policy", says: "Usage:"},
		{command: "policy new", says: "Usage:"},
		{command: "policy new aws", args: "--account-id 111122223333 --role-name x", says: `"Statement"`},
		{command: "policy new aws", args: "--account-id 111122223333 --role-name x --format cli", says: "aws iam create-role"},
		{command: "policy new gcp", args: "--project-number 123456789012 --pool-id pool1 --provider-id provider1 --format terraform", says: "attribute_condition"},
		{command: "policy new vault", args: "--role x", says: "bound_claims"},
		{command: "policy lint", says: "Usage:"},
		{command: "policy lint aws", args: "trust.json --format sarif", says: `"runs"`},
		{command: "policy lint gcp", args: "provider.json"},
		{command: "policy lint vault", args: "-", stdin: "role.json"},
		{command: "policy check", says: "Usage:"},
		{command: "policy check aws", args: "trust.json", says: "allow"},
		{command: "policy check aws", args: "other.json", says: "deny", exit: 4}, // it trusts another project
		{command: "policy check gcp", args: "provider.json", says: "allow"},
		{command: "policy check vault", args: "- --format json", stdin: "role.json", says: `"allow"`},
		{command: "policy test", args: "cases.yaml --junit results.xml", says: " 0 failed"},

		{command: "apply", says: "aws production until ", writes: apply, calls: true, second: true},
		{command: "apply", args: "--format json", says: `"targets"`, writes: apply, calls: true},
		{command: "apply", args: "--file -", stdin: "oidc-broker.yaml", says: "gcp deploy until ", writes: apply, calls: true},
		{command: "apply", args: "--dry-run", says: "would call AssumeRole "},

		{command: "doctor", before: leakWriters(), says: " errors, ", writes: append([]string{bashEnvFile, awsCache}, apply...)},
		{command: "doctor", args: "--online --verbose", says: "reached", calls: true, online: 5},
		{command: "sandbox", args: childLooks, child: none, job: true},
		{command: "cleanup", before: leakWriters()},
		{command: "cleanup", args: "--dry-run", before: leakWriters(), says: "remove ", writes: append([]string{bashEnvFile, awsCache}, apply...)},

		{command: "completion", says: "Usage:"},
		{command: "version", says: "oidc-broker "},
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		rows = append(rows, leakRow{command: "completion " + shell, says: "oidc-broker"})
	}
	return rows
}

// endpointToken is the variable for what the endpoint of `aws exec --refresh` hands
// keys out to. No cloud made it.
const endpointToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
