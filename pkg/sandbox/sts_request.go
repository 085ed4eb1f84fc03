package sandbox

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxPolicyChars is what all session policies of a request may have together.
const maxPolicyChars = 2048

const maxPolicyARNs = 10

// The patterns as AWS prints them, and as they have to match: the whole value.
const (
	namePattern       = `[\w+=,.@-]*`
	externalIDPattern = `[\w+=,.@:\/-]*`
)

var (
	nameChars       = lazy(`^(?:` + namePattern + `)$`)
	externalIDChars = lazy(`^(?:` + externalIDPattern + `)$`)
	policyARN       = lazy(`^arn:aws(?:-[a-z]+)*:iam::(?:[0-9]{12}|aws):policy/[\x21-\x7e]+$`)
	policyARNMember = lazy(`^PolicyArns\.member\.[0-9]+\.arn$`)
)

// An assumption is what both ways to assume a role ask for.
type assumption struct {
	roleARN, partition, account string
	sessionName                 string
	token                       string // AssumeRoleWithWebIdentity alone
	duration                    time.Duration
	packedSize                  int // percent
	tags                        sessionTags
}

// Parameters are judged as AWS's model of the API has them, all at once.
type parameters struct {
	form     url.Values
	violated []string
}

func readWebIdentity(form url.Values) (assumption, error) {
	p := parameters{form: form}
	p.length("RoleArn", 20, 2048)
	p.sessionName()
	p.secretLength("WebIdentityToken", 4, 20000)
	ask, err := p.finish()
	ask.token = form.Get("WebIdentityToken")
	return ask, err
}

func readAssumeRole(form url.Values) (assumption, error) {
	p := parameters{form: form}
	p.length("RoleArn", 20, 2048)
	p.sessionName()
	if form.Has("ExternalId") {
		p.length("ExternalId", 2, 1224)
		p.pattern("ExternalId", externalIDChars(), externalIDPattern)
	}
	tags := p.tags()
	ask, err := p.finish()
	if err != nil {
		return ask, err
	}
	ask.tags = tags
	return ask, tags.check()
}

// finish reads what both actions have, and refuses what was violated.
func (p *parameters) finish() (assumption, error) {
	duration, err := p.duration()
	if err != nil {
		return assumption{}, err
	}
	if len(p.violated) > 0 {
		return assumption{}, invalid(p.violated)
	}
	arn := p.form.Get("RoleArn")
	parts := roleARN().FindStringSubmatch(arn)
	if parts == nil {
		return assumption{}, invalidARN()
	}
	packed, err := p.policies()
	if err != nil {
		return assumption{}, err
	}
	return assumption{
		roleARN: arn, partition: parts[1], account: parts[2],
		sessionName: p.form.Get("RoleSessionName"),
		duration:    duration,
		packedSize:  packed,
	}, nil
}

func (p *parameters) sessionName() {
	p.length("RoleSessionName", 2, 64)
	p.pattern("RoleSessionName", nameChars(), namePattern)
}

// violate notes a broken constraint, with the value as AWS shows it.
func (p *parameters) violate(name, shown, constraint string) {
	member := strings.ToLower(name[:1]) + name[1:]
	p.violated = append(p.violated, fmt.Sprintf("Value %sat '%s' failed to satisfy constraint: Member must %s", shown, member, constraint))
}

func (p *parameters) length(name string, least, most int) {
	p.lengthShown(name, "'"+p.form.Get(name)+"' ", least, most)
}

// secretLength never shows the value.
func (p *parameters) secretLength(name string, least, most int) {
	p.lengthShown(name, "", least, most)
}

func (p *parameters) lengthShown(name, shown string, least, most int) {
	n := utf8.RuneCountInString(p.form.Get(name))
	switch {
	case !p.form.Has(name):
		p.violate(name, "null ", "not be null")
	case n > most:
		p.violate(name, shown, fmt.Sprintf("have length less than or equal to %d", most))
	case n < least:
		p.violate(name, shown, fmt.Sprintf("have length greater than or equal to %d", least))
	}
}

func (p *parameters) pattern(name string, chars *regexp.Regexp, printed string) {
	if v := p.form.Get(name); !chars.MatchString(v) {
		p.violate(name, "'"+v+"' ", "satisfy regular expression pattern: "+printed)
	}
}

func (p *parameters) duration() (time.Duration, error) {
	const name = "DurationSeconds"
	if !p.form.Has(name) {
		return time.Hour, nil
	}
	seconds, err := strconv.ParseInt(p.form.Get(name), 10, 32)
	if err != nil {
		return 0, malformedInput()
	}
	shown := fmt.Sprintf("'%d' ", seconds)
	switch {
	case seconds > 43200:
		p.violate(name, shown, "have value less than or equal to 43200")
	case seconds < 900:
		p.violate(name, shown, "have value greater than or equal to 900")
	}
	return time.Duration(seconds) * time.Second, nil
}

// policies judges the session policies and returns the share of the space for
// them that they take. AWS packs them first; here their plain length counts.
func (p *parameters) policies() (percent int, err error) {
	chars, arns := 0, 0
	for name, values := range p.form {
		if !policyARNMember().MatchString(name) {
			continue
		}
		if !policyARN().MatchString(values[0]) {
			return 0, invalidARN()
		}
		arns++
		chars += utf8.RuneCountInString(values[0])
	}
	if p.form.Has("Policy") {
		policy := p.form.Get("Policy")
		if err := checkPolicy(policy); err != nil {
			return 0, err
		}
		chars += utf8.RuneCountInString(policy)
	}
	percent = (chars*100 + maxPolicyChars - 1) / maxPolicyChars
	if chars > maxPolicyChars || arns > maxPolicyARNs {
		return 0, packedTooLarge(max(percent, arns*100/maxPolicyARNs))
	}
	return percent, nil
}

// checkPolicy looks at a session policy's form, not at what it allows.
func checkPolicy(policy string) error {
	if !json.Valid([]byte(policy)) {
		return malformedPolicy("This policy contains invalid Json")
	}
	var document struct {
		Version   string
		Statement json.RawMessage
	}
	if json.Unmarshal([]byte(policy), &document) != nil || document.Statement == nil {
		return malformedPolicy("Syntax errors in policy.")
	}
	return nil
}
