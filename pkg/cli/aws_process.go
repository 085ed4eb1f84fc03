package cli

import (
	"path/filepath"
	"strconv"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// ignoreEnvironment is the option by which a command line means the same in every
// step: the variables of another one do not fill in what it leaves out.
const ignoreEnvironment = "ignore-environment"

// processProfile returns the edits that make a profile whose SDKs call this program
// for the settled request, with a token that t finds.
func (r *awsRun) processProfile(x *aws.Exchange, t tokenOptions, name string, to aws.Files) ([]files.Edit, error) {
	self, token, err := r.callback(t, fault.Messagef("%s process", fault.Option("mode")))
	if err != nil {
		return nil, err
	}
	if path, err := filepath.Abs(t.File); t.File != "" && (err != nil || !files.Rereadable(path)) {
		return nil, fault.New(fault.Usage, "%s %q cannot be read again: it does not go with %s process", fault.Option("token-file"), path, fault.Option("mode"))
	}
	request, err := x.Args()
	if err != nil {
		return nil, err
	}
	p := append(aws.Process{self, "aws", "credential-process"}, request...)
	p = append(p, token...)
	if r.timeout != defaultTimeout {
		p = append(p, "--timeout", r.timeout.String())
	}
	if r.attempts != defaultAttempts {
		p = append(p, "--max-attempts", strconv.Itoa(r.attempts))
	}
	if r.noCache {
		p = append(p, "--no-cache")
	}
	// It stands last, as it needs no quotes: Go programs would take a pair around
	// the whole line away.
	return append(p, "--"+ignoreEnvironment).Profile(name, to, x.RegionToWrite(to, name))
}
