package aws

import (
	"context"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// Refreshed are credentials that are renewed while a command runs.
type Refreshed struct {
	keeper *broker.Refresher
	mu     sync.Mutex
	now    Credentials
}

// NewRefreshed returns the credentials, which renew makes anew once Run runs. failed is
// told, once until a renewal succeeds, that there are none yet.
func NewRefreshed(first Credentials, renew func(context.Context) (Credentials, error), now func() time.Time, failed func(end time.Time, err error)) *Refreshed {
	k := &Refreshed{keeper: broker.NewKeeper(first.Expiration, now), now: first}
	k.keeper.Failed = failed
	// A refusal is the cloud's last word. Everything else may pass.
	k.keeper.Hopeless = func(err error) bool { return fault.KindOf(err) == fault.Refused }
	k.keeper.Renew = func(ctx context.Context) (time.Time, error) {
		got, err := renew(ctx)
		if err != nil {
			return time.Time{}, err
		}
		k.mu.Lock()
		k.now = got
		k.mu.Unlock()
		return got.Expiration, nil
	}
	return k
}

// Run renews until ctx ends.
func (k *Refreshed) Run(ctx context.Context) { k.keeper.Run(ctx) }

// Get returns credentials that are valid. It waits where they are over, and
// returns why they could not be renewed.
func (k *Refreshed) Get(ctx context.Context) (Credentials, error) {
	err := k.keeper.Fresh(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		return Credentials{}, fault.New(fault.KindOf(err), "the AWS credentials ended at %s and could not be renewed: %w", k.now.Expiration.Format(time.RFC3339), err)
	}
	return k.now, nil
}
