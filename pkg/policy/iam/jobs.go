package iam

import (
	"fmt"
	"unicode"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// IAM's quotas of a role's trust policy, in which it counts no white space.
const (
	trustQuota   = 2048 // of an account, unless AWS raised it
	trustMaximum = 8192 // to which AWS raises it
)

// settleJobs returns a job for each project and repository that is admitted.
func (s Setup) settleJobs() ([]policy.Job, error) {
	projects, origins := s.Projects, s.Origins
	if len(projects) == 0 {
		projects = []string{s.Project}
	}
	if len(origins) == 0 {
		origins = []string{s.VCSOrigin}
	}
	n := max(len(projects), len(origins))
	if len(projects) > 1 && len(origins) > 1 && len(projects) != len(origins) {
		return nil, fault.New(fault.Usage, "--project is given %d times and --vcs-origin %d times", len(projects), len(origins)).
			Hint("give one repository for each project, in the same order, or one of them once for all")
	}
	jobs := make([]policy.Job, n)
	for i := range jobs {
		j := s.Job
		j.Project, j.VCSOrigin = projects[min(i, len(projects)-1)], origins[min(i, len(origins)-1)]
		var err error
		if jobs[i], err = j.Resolve(); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// oneOrAll is a value of a condition: a list only where there are several.
func oneOrAll(all []string) any {
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// size is the trust policy's, as IAM counts it.
func (s Setup) size() int {
	n := 0
	for _, r := range line(s.document(s.providerARN())) {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// sizeNotes refuses a document that IAM takes in no account, and tells of one that it
// takes only where the quota was raised. An account that is not known has 12 digits.
func (s Setup) sizeNotes() ([]string, error) {
	if s.AccountID == "" {
		s.AccountID = "000000000000"
	}
	switch n := s.size(); {
	case n > trustMaximum:
		return nil, fault.New(fault.Usage, "the trust policy has %d characters, more than the %d that IAM takes", n, trustMaximum).
			Hint("make several roles, or leave --vcs-origin out: then each project takes 39 characters")
	case n > trustQuota:
		return []string{fmt.Sprintf("the trust policy has %d characters: IAM takes %d unless the account's quota \"Role trust policy length\" was raised (to %d at most)", n, trustQuota, trustMaximum)}, nil
	}
	return nil, nil
}
