package sandbox

import (
	"strings"
	"time"
)

const (
	dynamicTTL = time.Hour
	dynamicMax = 24 * time.Hour
)

// A vaultLease is a secret that ends, at the latest with the token it was read
// with.
type vaultLease struct {
	token     *vaultToken
	issued    time.Time
	expires   time.Time
	renewable bool
}

// credentials makes a user name and a password, which the engine would make
// somewhere. The role fixed gives what cannot be renewed; all others can.
func (v *vault) credentials(q *vaultRequest) (*vaultAnswer, error) {
	role := strings.TrimPrefix(q.path, "dyn/creds/")
	ttl, err := q.duration("ttl")
	if err != nil {
		return nil, err
	}
	if role != "ci" && role != "fixed" {
		return nil, vaultInvalid("unknown role: " + role)
	}
	ttl, warnings, err := vaultLimits{ttl: dynamicTTL, max: dynamicMax}.life(ttl, v.now(), v.now())
	if err != nil {
		return nil, err
	}
	ttl = q.token.bound(ttl, v.now())
	l := &vaultLease{token: q.token, issued: v.now(), expires: v.now().Add(ttl), renewable: role != "fixed"}
	id := q.path + "/" + base62(24)
	if q.space.id != "" {
		id += "." + q.space.id
	}
	v.leases[id] = l
	password := "pw-" + base62(24)
	v.ledger.add(password)
	return &vaultAnswer{
		leaseID: id, leaseDuration: int(ttl.Seconds()), renewable: l.renewable, warnings: warnings, mount: "dyn",
		data: map[string]any{"username": "v-jwt-" + role + "-" + base62(20), "password": password},
	}, nil
}

// bound is how long a lease may last that is made with the token: with one of
// the kind batch not longer than the token.
func (t *vaultToken) bound(ttl time.Duration, now time.Time) time.Duration {
	if t.batch {
		return min(ttl, t.expires.Sub(now))
	}
	return ttl
}

func (v *vault) renewLease(q *vaultRequest) (*vaultAnswer, error) {
	id := q.text("lease_id")
	if id == "" {
		return nil, vaultInvalid("lease_id must be specified")
	}
	increment, err := q.duration("increment")
	if err != nil {
		return nil, err
	}
	l := v.leases[id]
	switch {
	case l == nil || !v.now().Before(l.expires) || v.live(l.token.text) == nil:
		return nil, vaultInvalid("lease not found")
	case !l.renewable:
		return nil, vaultInvalid("lease is not renewable")
	}
	ttl, warnings, err := vaultLimits{ttl: dynamicTTL, max: dynamicMax}.life(increment, l.issued, v.now())
	if err != nil {
		return nil, vaultInvalid(err.Error())
	}
	ttl = l.token.bound(ttl, v.now())
	l.expires = v.now().Add(ttl)
	return &vaultAnswer{leaseID: id, leaseDuration: int(ttl.Seconds()), renewable: true, warnings: warnings, mount: "system"}, nil
}
