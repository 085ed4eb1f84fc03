package shell

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// effectTime bounds how long bash may take to read a file of its variables.
const effectTime = 5 * time.Second

// EffectiveBashEnv is BashEnv for a block that takes effect: bash reads the new text,
// as it does before each script, and has the values afterwards. In a file with an open
// quote or here-document, or one that returns early, the block goes to the top. Where
// later lines override it even there, the edit is a fault.Local. environ is that of the
// job; without bash nothing is checked.
func EffectiveBashEnv(ctx context.Context, environ []string, path, block string, e child.Environment) files.Edit {
	edit := BashEnv(path, block, e)
	edit.Apply = func(old []byte) ([]byte, error) {
		text, err := editBlock(old, block, e)
		if err != nil {
			return nil, err
		}
		name := withoutEffect(ctx, environ, text, e)
		if name == "" {
			return text, nil
		}
		alone, err := editBlock(nil, block, e)
		if err != nil || withoutEffect(ctx, environ, alone, e) != "" {
			return text, err // this bash cannot tell
		}
		rest, err := editBlock(old, block, child.Environment{})
		if err != nil {
			return nil, err
		}
		top := append(alone, rest...)
		if name = withoutEffect(ctx, environ, top, e); name == "" {
			return top, nil
		}
		if line := Exported(rest)[name].Line; line > 0 {
			return nil, fault.New(fault.Local, "line %d sets %s, which would override the new value", line, name).
				Hint("remove that line from $BASH_ENV, or use 'exec', which does not read the file")
		}
		return nil, fault.New(fault.Local, "bash does not get %s from it", name).
			Hint("look in $BASH_ENV for an open quote or here-document, 'exit', or 'readonly' or 'unset' of that variable")
	}
	return edit
}

// withoutEffect returns a variable that bash does not have after it has read the text,
// or "" where it has all, or cannot be asked.
func withoutEffect(ctx context.Context, environ []string, text []byte, e child.Environment) string {
	e, err := e.Settled()
	if err != nil || len(e.Set) == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, effectTime)
	defer cancel()
	var names []string
	for _, v := range e.Set {
		names = append(names, v.Name)
	}
	var env []string
	for _, v := range environ {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS":
		default:
			env = append(env, v)
		}
	}
	// A file that exits leaves nothing printed. What it prints itself is thrown away.
	script := `exec 3>&1 4<&0 </dev/null; . /dev/fd/4 >/dev/null 2>&1; set +eux; for n in ` + strings.Join(names, " ") + `; do printf '%s\0' "${!n-}" >&3; done`
	out, _, err := child.Output(ctx, child.Child{Argv: []string{"bash", "--noprofile", "--norc", "-c", script}, Env: env, Stdin: bytes.NewReader(text)}, 1<<20)
	var status *child.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &status) {
		return ""
	}
	values := strings.Split(string(out), "\x00")
	for i, v := range e.Set {
		if i >= len(values)-1 || values[i] != v.Value.Reveal() {
			return v.Name
		}
	}
	return ""
}
