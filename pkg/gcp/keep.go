package gcp

import (
	"context"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// KeepToken keeps the token's file fresh until ctx ends: it writes a newer token
// over it, ahead of the old one's end. Google's libraries read the file again
// whenever they renew their access. failed is told, once until it succeeds, that
// there is no newer token yet, and when the old one ends.
func KeepToken(ctx context.Context, path string, t oidc.Token, renew func(context.Context, oidc.Token) (oidc.Token, error), now func() time.Time, failed func(end time.Time, err error)) {
	k := broker.NewKeeper(t.Expiry, now)
	k.Failed = failed
	k.Renew = func(ctx context.Context) (time.Time, error) {
		next, err := renew(ctx, t)
		if err != nil {
			return time.Time{}, err
		}
		if err := files.Commit(ctx, files.Edit{Path: path, Private: true, Apply: content([]byte(next.Raw.Reveal()))}); err != nil {
			return time.Time{}, err
		}
		t = next
		return t.Expiry, nil
	}
	k.Run(ctx)
}
