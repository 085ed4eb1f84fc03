package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// AWS's limits of session tags (STS API reference; IAM's quotas).
const (
	maxSessionTags = 50
	tagPattern     = `[\p{L}\p{Z}\p{N}_.:/=+\-@]`
)

var (
	tagKeyChars   = lazy(`^` + tagPattern + `+$`)
	tagValueChars = lazy(`^` + tagPattern + `*$`)
)

// sessionTags are what a session says of its bearer: tags, of which the transitive
// ones stay with the sessions that follow, and the source identity, which always does.
type sessionTags struct {
	values         map[string]string
	transitive     []string
	sourceIdentity string
	twice          string // a key that was given twice
}

// tags reads the parameters of AssumeRole.
func (p *parameters) tags() sessionTags {
	t := sessionTags{values: map[string]string{}, sourceIdentity: p.form.Get("SourceIdentity")}
	if p.form.Has("SourceIdentity") {
		p.length("SourceIdentity", 2, 64)
		p.pattern("SourceIdentity", nameChars(), namePattern)
	}
	for i := 1; p.form.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		member := fmt.Sprintf("Tags.member.%d.", i)
		key, value := p.form.Get(member+"Key"), p.form.Get(member+"Value")
		p.tagText(member+"key", key, 1, 128, tagKeyChars().MatchString(key), tagPattern+"+")
		p.tagText(member+"value", value, 0, 256, tagValueChars().MatchString(value), tagPattern+"*")
		for known := range t.values {
			if strings.EqualFold(known, key) {
				t.twice = key
			}
		}
		t.values[key] = value
	}
	if len(t.values) > maxSessionTags {
		p.violate("Tags", "", fmt.Sprintf("have length less than or equal to %d", maxSessionTags))
	}
	for i := 1; p.form.Has(fmt.Sprintf("TransitiveTagKeys.member.%d", i)); i++ {
		t.transitive = append(t.transitive, p.form.Get(fmt.Sprintf("TransitiveTagKeys.member.%d", i)))
	}
	return t
}

func (p *parameters) tagText(name, text string, least, most int, matches bool, printed string) {
	switch n := utf8.RuneCountInString(text); {
	case n < least:
		p.violate(name, "'"+text+"' ", fmt.Sprintf("have length greater than or equal to %d", least))
	case n > most:
		p.violate(name, "'"+text+"' ", fmt.Sprintf("have length less than or equal to %d", most))
	case !matches:
		p.violate(name, "'"+text+"' ", "satisfy regular expression pattern: "+printed)
	}
}

// check refuses what AWS's model of the request cannot say. The texts are the
// sandbox's own, but for that of a key that is given twice.
func (t sessionTags) check() error {
	if t.twice != "" {
		return refuse(400, "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	}
	for key := range t.values {
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return refuse(400, "InvalidParameterValue", "System tags cannot be added or modified")
		}
	}
	for _, key := range t.transitive {
		if _, ok := t.values[key]; !ok {
			return refuse(400, "InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.")
		}
	}
	return nil
}

// after returns the tags of a session that the caller's credentials open.
func (t sessionTags) after(caller *session, roleARN string) (sessionTags, error) {
	all := sessionTags{values: maps.Clone(t.values), transitive: slices.Clone(t.transitive), sourceIdentity: t.sourceIdentity}
	for _, key := range caller.tags.transitive {
		for own := range t.values {
			if strings.EqualFold(own, key) {
				return all, refuse(400, "InvalidParameterValue", "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
			}
		}
		all.values[key] = caller.tags.values[key]
		all.transitive = append(all.transitive, key)
	}
	switch before := caller.tags.sourceIdentity; {
	case before == "":
	case t.sourceIdentity != "" && t.sourceIdentity != before:
		return all, userNotAuthorized(caller.arn(), "sts:SetSourceIdentity", roleARN).because("the session has the source identity %s", before)
	default:
		all.sourceIdentity = before
	}
	return all, nil
}

// String is for the log: " (Team=a Stage=b*, source identity x)", where * marks
// what stays with the sessions that follow.
func (t sessionTags) String() string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		mark := ""
		if slices.Contains(t.transitive, key) {
			mark = "*"
		}
		parts = append(parts, key+"="+t.values[key]+mark)
	}
	if t.sourceIdentity != "" {
		parts = append(parts, "source identity "+t.sourceIdentity)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
