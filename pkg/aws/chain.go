package aws

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// What STS accepts of AssumeRole alone (its API reference, and IAM's quotas).
const (
	maxTags       = 50
	maxTagKey     = 128
	maxTagValue   = 256
	tagText       = `^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`
	sourceID      = `^[\w+=,.@-]{2,}$`
	maxSourceID   = 64
	externalID    = `^[\w+=,.@:/-]{2,}$`
	maxExternalID = 1224
	// noExternalID stands for a role of the chain that demands none.
	noExternalID = "-"
)

// A chainRequest is what AssumeRole takes and AssumeRoleWithWebIdentity does not.
type chainRequest struct {
	externalIDs []string // none, one of all chained roles, or one of each
	tags        []tag
	transitive  []string // keys of tags
	sourceID    string
}

type tag struct{ key, value string }

// settleChain checks the options of chained roles.
func (o Options) settleChain(x *Exchange) error {
	chained := len(o.ChainRoleARNs)
	if o.Via {
		chained++
	}
	for _, option := range []struct {
		name  fault.Option
		given bool
	}{
		{"session-tag", len(o.SessionTags) > 0}, {"transitive-tag-key", len(o.TransitiveTagKeys) > 0}, {"source-identity", o.SourceIdentity != ""},
	} {
		if option.given && chained == 0 {
			return fault.New(fault.Usage, "%s is for chained roles: AssumeRoleWithWebIdentity takes none", option.name).
				Hint("AWS reads a first role's tags and source identity from claims of the token; for others, add %s", fault.Option("chain-role-arn"))
		}
	}
	if len(o.ExternalIDs) > 0 && chained == 0 {
		return fault.New(fault.Usage, "%s is for chained roles: AssumeRoleWithWebIdentity takes none", fault.Option("external-id")).
			Hint("the token's claims take its place; for a role that demands an external id, add %s", fault.Option("chain-role-arn"))
	}
	if n := len(o.ExternalIDs); n > 1 && n != chained {
		return fault.New(fault.Usage, "%s is given %d times for %d chained roles", fault.Option("external-id"), n, chained).
			Hint("give one for all of them, or one for each in their order; %s stands for a role that demands none", noExternalID)
	}
	for _, id := range o.ExternalIDs {
		if id != noExternalID && (len(id) > maxExternalID || !matches(externalID, id)) {
			return fault.New(fault.Usage, "%s must have 2 to %d characters of A-Z a-z 0-9 _ + = , . @ : / -", fault.Option("external-id"), maxExternalID).Value(id)
		}
	}
	if id := o.SourceIdentity; id != "" && (len(id) > maxSourceID || !matches(sourceID, id) || strings.HasPrefix(strings.ToLower(id), "aws:")) {
		return fault.New(fault.Usage, "%s %q is not one that AWS accepts", fault.Option("source-identity"), id).
			Hint("it has 2 to %d characters of A-Z a-z 0-9 _ + = , . @ -", maxSourceID)
	}
	x.chained = chainRequest{externalIDs: o.ExternalIDs, transitive: o.TransitiveTagKeys, sourceID: o.SourceIdentity}
	return o.settleTags(&x.chained)
}

// settleTags reads KEY=VALUE. AWS takes keys that differ in letter case for one.
func (o Options) settleTags(c *chainRequest) error {
	seen := map[string]bool{}
	for _, text := range o.SessionTags {
		key, value, ok := strings.Cut(text, "=")
		reserved := strings.HasPrefix(strings.ToLower(key), "aws:")
		switch n := len([]rune(key)); {
		case !ok || n == 0 || n > maxTagKey || len([]rune(value)) > maxTagValue || !matches(tagText, key) || !matches(tagText, value) || reserved:
			return fault.New(fault.Usage, "%s %q is not a tag that AWS accepts", fault.Option("session-tag"), text).
				Hint("write KEY=VALUE, one tag each time: at most %d and %d letters, digits, spaces and _.:/=+-@, and no key that begins with aws:", maxTagKey, maxTagValue)
		case seen[strings.ToLower(key)]:
			return fault.New(fault.Usage, "%s has the key %q twice: AWS ignores letter case in keys", fault.Option("session-tag"), key)
		}
		seen[strings.ToLower(key)] = true
		c.tags = append(c.tags, tag{key, value})
	}
	if len(c.tags) > maxTags {
		return fault.New(fault.Usage, "%s is given %d times, AWS takes %d", fault.Option("session-tag"), len(c.tags), maxTags)
	}
	for _, key := range c.transitive {
		if !slices.ContainsFunc(c.tags, func(t tag) bool { return t.key == key }) {
			return fault.New(fault.Usage, "%s %q is the key of no %s", fault.Option("transitive-tag-key"), key, fault.Option("session-tag")).
				Hint("give the tag too: %s %s=VALUE", fault.Option("session-tag"), key)
		}
	}
	return nil
}

// externalID returns that of the n-th chained role, or "".
func (c chainRequest) externalID(n int) string {
	switch len(c.externalIDs) {
	case 0:
		return ""
	case 1:
		n = 0
	}
	if c.externalIDs[n] == noExternalID {
		return ""
	}
	return c.externalIDs[n]
}

// fill adds what the n-th chained role gets. The source identity and transitive tags
// stay with the sessions that follow, where AWS takes them for an attempt to change
// them; all other tags end with their session.
func (c chainRequest) fill(in *sts.AssumeRoleInput, n int) {
	if id := c.externalID(n); id != "" {
		in.ExternalId = &id
	}
	first := n == 0
	for _, t := range c.tags {
		if first || !slices.Contains(c.transitive, t.key) {
			in.Tags = append(in.Tags, types.Tag{Key: &t.key, Value: &t.value})
		}
	}
	if first {
		in.TransitiveTagKeys = c.transitive
		if c.sourceID != "" {
			in.SourceIdentity = &c.sourceID
		}
	}
}

// args are the options again, for a command line.
func (c chainRequest) args() []string {
	var args []string
	for _, id := range c.externalIDs {
		args = append(args, "--external-id", id)
	}
	for _, t := range c.tags {
		args = append(args, "--session-tag", t.key+"="+t.value)
	}
	for _, key := range c.transitive {
		args = append(args, "--transitive-tag-key", key)
	}
	if c.sourceID != "" {
		args = append(args, "--source-identity", c.sourceID)
	}
	return args
}
