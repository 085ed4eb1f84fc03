package gcp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// TestKeepToken on virtual time: at no time is the token in the file over, as long
// as there is a newer one; the file is whole and private at each.
func TestKeepToken(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		path := filepath.Join(dir, "token")
		made := 0
		token := func() oidc.Token {
			made++
			return oidc.Token{Raw: secret.New(fmt.Sprintf("token %d", made)), Expiry: time.Now().Add(time.Hour)}
		}
		first := token()
		if err := os.WriteFile(path, []byte(first.Raw.Reveal()), 0o600); err != nil {
			t.Fatal(err)
		}
		away := errors.New("no minter")
		var notes []string
		renew := func(_ context.Context, old oidc.Token) (oidc.Token, error) {
			if want := fmt.Sprintf("token %d", made); old.Raw.Reveal() != want {
				t.Errorf("the newer one of %s, want of %s", old.Raw.Reveal(), want)
			}
			if at := time.Since(start); at > 2*time.Hour && at < 3*time.Hour {
				return oidc.Token{}, away
			}
			return token(), nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Hour)
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			KeepToken(ctx, path, first, renew, time.Now, func(end time.Time, err error) {
				notes = append(notes, fmt.Sprintf("until %s: %v", end.Sub(start), err))
			})
		}()
		var seen []string
		for at := time.Duration(0); at < 5*time.Hour; at += 15 * time.Minute {
			synctest.Wait()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, mode %v", err, info.Mode())
			}
			if n := len(seen); n == 0 || seen[n-1] != string(b) {
				seen = append(seen, string(b))
			}
			time.Sleep(15 * time.Minute)
		}
		<-ended
		// Three in time, at 45m, 1h30m; from 2h15m on none, until 3h; then again.
		if diff := cmp.Diff([]string{"token 1", "token 2", "token 3", "token 4", "token 5", "token 6"}, seen); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"until 2h30m0s: no minter"}, notes); diff != "" {
			t.Error(diff)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("beside the token lie %v, %v", left, err)
		}
	})
}

// A file that cannot be written is said, and the old token stays.
func TestKeepTokenWhereItCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "token")
		if err := os.Mkdir(path, 0o700); err != nil { // as root, nothing else refuses
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Minute)
		defer cancel()
		var notes []string
		first := oidc.Token{Raw: secret.New("first"), Expiry: time.Now().Add(time.Hour)}
		renew := func(context.Context, oidc.Token) (oidc.Token, error) {
			return oidc.Token{Raw: secret.New("second"), Expiry: time.Now().Add(time.Hour)}, nil
		}
		KeepToken(ctx, path, first, renew, time.Now, func(_ time.Time, err error) { notes = append(notes, err.Error()) })
		if want := fmt.Sprintf("%q is a directory, not a file", path); len(notes) != 1 || notes[0] != want {
			t.Errorf("%q, want %q", notes, want)
		}
	})
}
