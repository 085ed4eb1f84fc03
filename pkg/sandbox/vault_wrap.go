package sandbox

import (
	"encoding/json"
	"time"
)

// A wrappedAnswer is what a wrapping token stands for.
type wrappedAnswer struct {
	body   json.RawMessage
	status int // as of the answer
	path   string
	ttl    time.Duration
	at     time.Time
}

// wrap puts an answer away where the request asked for it, and answers with
// the token that fetches it, once.
func (v *vault) wrap(q *vaultRequest, a *vaultAnswer) (*vaultAnswer, error) {
	if q.wrapTTL <= 0 || a.whole != nil {
		return a, nil
	}
	body, err := json.Marshal(a.body(q.id))
	if err != nil {
		return nil, err
	}
	t := v.issue(&vaultToken{
		space: q.space, path: q.path, policies: []string{wrappingPolicy}, uses: 1,
		issued: v.now(), expires: v.now().Add(q.wrapTTL), created: q.wrapTTL, limits: vaultLimits{explicitMax: q.wrapTTL},
		wrapped: &wrappedAnswer{body: body, status: a.status, path: q.path, ttl: q.wrapTTL, at: v.now()},
	})
	info := &vaultWrapInfo{
		Token: t.text, Accessor: t.accessor, TTL: int(q.wrapTTL.Seconds()),
		CreationTime: v.now().Format(time.RFC3339Nano), CreationPath: q.path,
	}
	if a.auth != nil {
		info.WrappedAccessor = a.auth.Accessor
	}
	return &vaultAnswer{wrapInfo: info}, nil
}

// checkWrapping looks at the wrapping token of a request that is about one,
// before anything else: where it is none, no other refusal tells.
func (v *vault) checkWrapping(q *vaultRequest) error {
	if q.path != "sys/wrapping/lookup" && q.path != "sys/wrapping/unwrap" {
		return nil
	}
	text, named := q.wrappingToken()
	if text == "" {
		why := "token is empty"
		if named {
			why = "empty token in request body"
		}
		return &vaultRefusal{status: 403, texts: []string{"error validating wrapping token: " + why}}
	}
	if t := v.live(text); t == nil || t.wrapped == nil {
		return vaultInvalid("wrapping token is not valid or does not exist")
	}
	return nil
}

// wrappingToken is in the body, or it is the token of the request.
func (q *vaultRequest) wrappingToken() (text string, named bool) {
	if q.data["token"] != nil {
		return q.text("token"), true
	}
	return q.bearer, false
}

func (v *vault) unwrap(q *vaultRequest) (*vaultAnswer, error) {
	text, _ := q.wrappingToken()
	t := v.tokens[text]
	if t == nil || t.wrapped == nil {
		return nil, vaultInvalid("wrapping token is not valid or does not exist")
	}
	v.revoke(t)
	return &vaultAnswer{whole: t.wrapped.body, status: t.wrapped.status}, nil
}

func (v *vault) lookupWrapping(q *vaultRequest) (*vaultAnswer, error) {
	text, _ := q.wrappingToken()
	w := v.tokens[text].wrapped
	return &vaultAnswer{data: map[string]any{
		"creation_path": w.path, "creation_time": w.at.Format(time.RFC3339Nano), "creation_ttl": w.ttl.Seconds(),
	}}, nil
}
