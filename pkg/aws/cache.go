package aws

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

const (
	// freshness is what credentials have left that are handed out again without
	// asking AWS: with less, botocore comes back with every call.
	freshness = 15 * time.Minute
	// ahead is how far from now a time may lie that a clock of this machine wrote
	// down: it is set a little back now and then.
	ahead = time.Minute
	// againAfter is how long renewing is left alone after it failed, while the
	// credentials are still valid: an outage must not make every call slow.
	againAfter = 30 * time.Second
)

// Cached are credentials and what is remembered of them.
type Cached struct {
	Credentials
	Made  time.Time // when they were exchanged
	Tried time.Time // when renewing them failed last
}

// Left is how long they are valid yet.
func (c Cached) Left(now time.Time) time.Duration { return c.Expiration.Sub(now) }

// Fresh says whether they can be handed out without a thought of renewing them: a
// quarter of an hour is left, or a third of a session that is shorter.
func (c Cached) Fresh(now time.Time) bool {
	return c.Left(now) >= min(freshness, c.Expiration.Sub(c.Made)/3)
}

// JustTried says whether renewing them has failed a moment ago.
func (c Cached) JustTried(now time.Time) bool {
	return !c.Tried.IsZero() && now.Sub(c.Tried) < againAfter
}

// entry is Cached as it is stored.
type entry struct { // #nosec G117 -- storing them is what it is for
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey"`
	SessionToken    string    `json:"sessionToken"`
	Expiration      time.Time `json:"expiration"`
	Account         string    `json:"account"`
	ARN             string    `json:"arn"`
	Region          string    `json:"region,omitempty"`
	Made            time.Time `json:"made"`
	Tried           time.Time `json:"tried,omitzero"`
}

// Store returns the credentials as a private file holds them.
func (c Cached) Store() ([]byte, error) {
	b, err := json.Marshal(entry{ // #nosec G117 -- the file is private, and what it is for
		c.AccessKeyID.Reveal(), c.SecretAccessKey.Reveal(), c.SessionToken.Reveal(), c.Expiration.UTC(),
		c.Account, c.ARN, c.Region, c.Made.UTC(), c.Tried.UTC(),
	})
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot write the credentials as JSON")
	}
	return b, nil
}

// ReadCached reads what Store returned. An error says why it is not to be used at
// this time: a clock that was wrong when it was written, or is now, would have
// credentials that have ended handed out for ever.
func ReadCached(b []byte, now time.Time) (Cached, error) {
	var e entry
	if err := json.Unmarshal(b, &e); err != nil {
		return Cached{}, errors.New("it is no record of credentials")
	}
	for _, part := range []string{e.AccessKeyID, e.SecretAccessKey, e.SessionToken} {
		if !usable(part) {
			return Cached{}, errors.New("it holds no credentials")
		}
	}
	c := Cached{
		Credentials: Credentials{
			AccessKeyID:     secret.New(e.AccessKeyID),
			SecretAccessKey: secret.New(e.SecretAccessKey),
			SessionToken:    secret.New(e.SessionToken),
			Expiration:      e.Expiration.UTC(),
			Account:         e.Account, ARN: e.ARN, Region: e.Region,
		},
		Made: e.Made, Tried: e.Tried,
	}
	return c, c.plausible(now)
}

func (c Cached) plausible(now time.Time) error {
	limit := now.Add(ahead)
	switch {
	case c.Made.After(limit) || c.Tried.After(limit):
		return fmt.Errorf("it is from %s, which is in the future by this machine's clock", c.Made.UTC().Format(time.RFC3339))
	case c.Made.IsZero() || !c.Expiration.After(c.Made) || c.Expiration.Sub(c.Made) > maxDuration+freshness:
		return fmt.Errorf("it says that the session ends at %s, which cannot be", c.Expiration.Format(time.RFC3339))
	}
	return nil
}

// Key is the digest of everything that decides which credentials Exchange returns:
// what was settled, whatever it came from, and the more that the caller knows, in
// particular whose token it is.
func (x *Exchange) Key(more ...string) [sha256.Size]byte {
	var arns []string
	for _, r := range x.roles {
		arns = append(arns, r.arn)
	}
	h := sha256.New()
	for _, list := range [][]string{
		{"aws", "2"}, // another meaning of what follows is another number
		arns,
		{x.session, x.duration.String(), x.Region, x.policy},
		x.chained.args(),
		x.policyARNs, x.accounts,
		{x.endpoint.url, strconv.FormatBool(x.endpoint.fips), strconv.FormatBool(x.endpoint.dualStack), string(x.endpoint.caBundle)},
		more,
	} {
		// With the lengths, no two lists run together into the same bytes.
		_, _ = fmt.Fprintf(h, "%d\n", len(list))
		for _, s := range list {
			_, _ = fmt.Fprintf(h, "%d:%s\n", len(s), s)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}
