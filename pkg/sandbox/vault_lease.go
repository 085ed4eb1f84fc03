package sandbox

import (
	"net/http"
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
	id        string
	token     *vaultToken
	issued    time.Time
	renewed   time.Time
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
	if ttl <= 0 {
		ttl = dynamicTTL
	}
	var warnings []string
	ttl, warnings = vaultLimits{max: dynamicMax}.life(ttl, v.now(), v.now())
	if !q.token.expires.IsZero() && q.token.batch {
		ttl = min(ttl, q.token.expires.Sub(v.now()))
	}
	l := &vaultLease{
		id: q.path + "/" + base62(24), token: q.token, issued: v.now(), expires: v.now().Add(ttl), renewable: role != "fixed",
	}
	if q.space.id != "" {
		l.id += "." + q.space.id
	}
	v.leases[l.id] = l
	password := "pw-" + base62(24)
	v.ledger.add(password)
	return &vaultAnswer{
		leaseID: l.id, leaseDuration: int(ttl.Seconds()), renewable: l.renewable, warnings: warnings, mount: "dyn",
		data: map[string]any{"username": q.text("username_prefix") + "v-jwt-" + role + "-" + base62(20), "password": password},
	}, nil
}

// lease returns nil for one that is over.
func (v *vault) lease(id string) *vaultLease {
	l := v.leases[id]
	if l == nil || !v.now().Before(l.expires) || v.live(l.token.text) == nil {
		delete(v.leases, id)
		return nil
	}
	return l
}

func (q *vaultRequest) leaseID(prefix string) (string, error) {
	id := q.text("lease_id")
	if rest, ok := strings.CutPrefix(q.path, prefix+"/"); ok && id == "" {
		id = rest
	}
	if id == "" {
		return "", vaultInvalid("lease_id must be specified")
	}
	return id, nil
}

func (v *vault) lookupLease(q *vaultRequest) (*vaultAnswer, error) {
	id, err := q.leaseID("sys/leases/lookup")
	if err != nil {
		return nil, err
	}
	l := v.lease(id)
	if l == nil {
		return nil, vaultInvalid("invalid lease")
	}
	data := map[string]any{
		"id": id, "issue_time": timeText(l.issued), "expire_time": timeText(l.expires), "last_renewal": nil,
		"ttl": int64(l.expires.Sub(v.now()).Seconds()), "renewable": l.renewable,
	}
	if !l.renewed.IsZero() {
		data["last_renewal"] = timeText(l.renewed)
	}
	return &vaultAnswer{data: data, mount: "system"}, nil
}

func (v *vault) renewLease(q *vaultRequest) (*vaultAnswer, error) {
	id, err := q.leaseID("sys/leases/renew")
	if err != nil {
		return nil, err
	}
	increment, err := q.duration("increment")
	if err != nil {
		return nil, err
	}
	l := v.lease(id)
	switch {
	case l == nil:
		return nil, vaultInvalid("lease not found")
	case !l.renewable:
		return nil, vaultInvalid("lease is not renewable")
	}
	ttl, warnings := vaultLimits{ttl: dynamicTTL, max: dynamicMax}.life(increment, l.issued, v.now())
	l.renewed, l.expires = v.now(), v.now().Add(ttl)
	return &vaultAnswer{leaseID: id, leaseDuration: int(ttl.Seconds()), renewable: true, warnings: warnings, mount: "system"}, nil
}

func (v *vault) revokeLease(q *vaultRequest) (*vaultAnswer, error) {
	id, err := q.leaseID("sys/leases/revoke")
	if err != nil {
		return nil, err
	}
	delete(v.leases, id)
	if q.text("sync") == "1" || q.text("sync") == "true" {
		return nil, nil
	}
	return &vaultAnswer{status: http.StatusAccepted}, nil
}
