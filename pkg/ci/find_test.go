package ci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// said is what a minting program does when it is run.
type said struct {
	stdout, stderr string
	err            error
}

var errExit1 = errors.New("exit status 1")

// A job is what a Finder finds itself in: variables, and programs by name.
type world struct {
	Finder
	env  map[string]string
	path map[string]said
	argv [][]string
	logs []string
}

func newWorld(env map[string]string, path map[string]said) *world {
	w := &world{env: env, path: path}
	w.Finder = Finder{
		Getenv: func(name string) string { return w.env[name] },
		Stdin:  strings.NewReader(""),
		Now:    now,
		Run: func(_ context.Context, argv ...string) ([]byte, []byte, error) {
			p, ok := w.path[argv[0]]
			if !ok {
				return nil, nil, fmt.Errorf("%q: %w", argv[0], fs.ErrNotExist)
			}
			w.argv = append(w.argv, argv)
			return []byte(p.stdout), []byte(p.stderr), p.err
		},
		Log: func(format string, args ...any) { w.logs = append(w.logs, fmt.Sprintf(format, args...)) },
	}
	return w
}

// tokenOf returns a token with this subject that has left to live.
func tokenOf(sub string, left time.Duration) string {
	return compact(header, fmt.Sprintf(`{"iss":%q,"sub":%q,"aud":"the-audience","exp":%d}`, issuer, sub, now().Add(left).Unix()))
}

func TestFind(t *testing.T) {
	v1, v2, mine, minted := tokenOf("v1", time.Hour), tokenOf("v2", time.Hour), tokenOf("mine", time.Hour), tokenOf("minted", time.Hour)
	soon, slack, late := tokenOf("soon", 59*time.Second), tokenOf("slack", -time.Minute), tokenOf("late", -61*time.Second)
	both := map[string]string{EnvV1: v1, EnvV2: v2, "MINE": mine + "\n"}
	circleci := map[string]said{"circleci": {stdout: minted + "\n"}}
	broken := map[string]said{"circleci": {stderr: "no plugin", err: errExit1}}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(mine+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		env     map[string]string
		path    map[string]said
		options func(*Finder)
		subject string
		source  string
		argv    string // of the last program that ran
	}{
		{"V1 first", both, circleci, nil, "v1", EnvV1, ""},
		{"V2 preferred", both, circleci, func(f *Finder) { f.Version = "v2" }, "v2", EnvV2, ""},
		{"V1 preferred", both, circleci, func(f *Finder) { f.Version = "v1" }, "v1", EnvV1, ""},
		{"only V2", map[string]string{EnvV2: v2}, circleci, func(f *Finder) { f.Version = "v1" }, "v2", EnvV2, ""},
		{"only V1", map[string]string{EnvV1: v1}, circleci, func(f *Finder) { f.Version = "v2" }, "v1", EnvV1, ""},
		{"V1 blank", map[string]string{EnvV1: " \n", EnvV2: v2}, nil, nil, "v2", EnvV2, ""},
		{"token-env", both, circleci, func(f *Finder) { f.Env = "MINE" }, "mine", "MINE", ""},
		{"token-env, within the slack", map[string]string{"MINE": slack}, circleci, func(f *Finder) { f.Env = "MINE" }, "slack", "MINE", ""},
		{"token-file", both, circleci, func(f *Finder) { f.File = file }, "mine", fmt.Sprintf("%q", file), ""},
		{"token-file -", both, circleci, func(f *Finder) { f.File, f.Stdin = "-", strings.NewReader(mine+"\n") }, "mine", "standard input", ""},
		{"--audience", both, circleci, func(f *Finder) { f.Audience = "sts.amazonaws.com" }, "minted", "circleci run oidc get",
			`circleci run oidc get --claims {"aud":"sts.amazonaws.com"}`},
		{"nothing set", map[string]string{"CIRCLE_ORGANIZATION_ID": org}, circleci, nil, "minted", "circleci run oidc get",
			`circleci run oidc get --claims {"aud":"` + org + `"}`},
		{"nothing set, no organisation", nil, circleci, nil, "minted", "circleci run oidc get", `circleci run oidc get`},
		{"a minute left", map[string]string{EnvV1: tokenOf("minute", oidc.Slack)}, circleci, nil, "minute", EnvV1, ""},
		{"less than a minute left", map[string]string{EnvV1: soon}, circleci, nil, "minted", "circleci run oidc get", `circleci run oidc get --claims {"aud":"the-audience"}`},
		{"expired", map[string]string{EnvV1: late}, circleci, nil, "minted", "circleci run oidc get", `circleci run oidc get --claims {"aud":"the-audience"}`},
		{"V2 expired and preferred", map[string]string{EnvV1: v1, EnvV2: late}, circleci, func(f *Finder) { f.Version = "v2" }, "minted", "circleci run oidc get",
			`circleci run oidc get --claims {"aud":"the-audience"}`},
		{"less than a minute left, no minter", map[string]string{EnvV1: soon}, nil, nil, "soon", EnvV1, ""},
		{"less than a minute left, minting fails", map[string]string{EnvV1: soon}, broken, nil, "soon", EnvV1, `circleci run oidc get --claims {"aud":"the-audience"}`},
		{"within the slack, minting fails", map[string]string{EnvV1: slack}, broken, nil, "slack", EnvV1, `circleci run oidc get --claims {"aud":"the-audience"}`},
		{"less than a minute left, an expired one minted", map[string]string{EnvV1: soon}, map[string]said{"circleci": {stdout: late}}, nil, "soon", EnvV1,
			`circleci run oidc get --claims {"aud":"the-audience"}`},
		{"agent alone", nil, map[string]said{"circleci-agent": {stdout: minted}}, nil, "minted", "circleci-agent run oidc get", `circleci-agent run oidc get`},
		{"local CLI first on PATH", nil, map[string]said{"circleci": {stderr: `unknown command "oidc"`, err: errExit1}, "circleci-agent": {stdout: minted}}, nil,
			"minted", "circleci-agent run oidc get", `circleci-agent run oidc get`},
		{"local CLI that exits 0", nil, map[string]said{"circleci": {stdout: "Usage: circleci run\n"}, "circleci-agent": {stdout: minted}}, nil,
			"minted", "circleci-agent run oidc get", `circleci-agent run oidc get`},
		{"circleci mints an expired one", nil, map[string]said{"circleci": {stdout: late}, "circleci-agent": {stdout: minted}}, nil,
			"minted", "circleci-agent run oidc get", `circleci-agent run oidc get`},
		{"warning beside the token", nil, map[string]said{"circleci": {stdout: minted, stderr: "deprecated"}}, nil, "minted", "circleci run oidc get", `circleci run oidc get`},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(row.env, row.path)
			if row.options != nil {
				row.options(&w.Finder)
			}
			got, err := w.Find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject != row.subject || got.Source != row.source {
				t.Errorf("found %s in %s, want %s in %s", got.Subject, got.Source, row.subject, row.source)
			}
			last := ""
			if len(w.argv) > 0 {
				last = strings.Join(w.argv[len(w.argv)-1], " ")
			}
			if last != row.argv {
				t.Errorf("ran %q, want %q", last, row.argv)
			}
			if len(w.logs) != 1 || !strings.HasPrefix(w.logs[0], "token from "+row.source+", ") {
				t.Errorf("logged %q", w.logs)
			}
			if text, ok := leaks(got.Raw.Reveal(), w.logs...); ok {
				t.Errorf("logs a part of the token: %s", text)
			}
		})
	}
}

func TestFindWithoutLog(t *testing.T) {
	w := newWorld(map[string]string{EnvV1: tokenOf("v1", time.Hour)}, nil)
	w.Log = nil
	if _, err := w.Find(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFindRefuses(t *testing.T) {
	good, late := tokenOf("good", time.Hour), tokenOf("late", -61*time.Second)
	inCircleCI := func(more ...string) map[string]string {
		env := map[string]string{"CIRCLECI": "true", "CIRCLE_BUILD_URL": "https://app.circleci.com/jobs/1", "TMPDIR": t.TempDir()}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	localCLI := map[string]said{"circleci": {stderr: "\n\nError: unknown command\r\nRun 'circleci help'\n", err: errExit1}}
	for _, row := range []struct {
		name    string
		env     map[string]string
		path    map[string]said
		options func(*Finder)
		token   string // of which no 8 bytes may show
		words   string
		hint    string
	}{
		{"token-env unset", nil, nil, func(f *Finder) { f.Env = "MINE" }, "", `the variable "MINE", which token-env names, is not set`, "without $"},
		{"token-env blank", map[string]string{"MINE": " "}, nil, func(f *Finder) { f.Env = "MINE" }, "", `"MINE", which token-env names, is not set`, ""},
		{"token-env expired", map[string]string{"MINE": late}, map[string]said{"circleci": {stdout: good}}, func(f *Finder) { f.Env = "MINE" }, late,
			"the token in MINE expired 1m1s ago, at 2025-11-13T22:12:51Z", "audience"},
		{"token-env malformed", map[string]string{"MINE": good + "x."}, nil, func(f *Finder) { f.Env = "MINE" }, good, "the token in MINE has 4 parts", ""},
		{"V1 malformed, V2 good", map[string]string{EnvV1: "not-a-token", EnvV2: good}, nil, nil, "not-a-token", "the token in CIRCLE_OIDC_TOKEN has 1 part,", ""},
		{"expired, no minter", map[string]string{EnvV1: late}, nil, nil, late, "the token in CIRCLE_OIDC_TOKEN expired 1m1s ago: ", "neither is there"},
		{"expired, minting fails", map[string]string{EnvV2: late}, localCLI, nil, late, "the token in CIRCLE_OIDC_TOKEN_V2 expired 1m1s ago: circleci run oidc get made no token: Error: unknown command", "local CLI"},
		{"expired, so is the minted one", map[string]string{EnvV1: late}, map[string]said{"circleci": {stdout: late}}, nil, late, "circleci run oidc get made a token that expired at 2025-11-13T22:12:51Z", "clock"},
		{"audience, no minter", map[string]string{EnvV1: good}, nil, func(f *Finder) { f.Audience = "a" }, "", "cannot mint a token: neither circleci nor circleci-agent is on PATH", ""},
		{"audience, both fail", nil, map[string]said{"circleci": {stderr: "first", err: errExit1}, "circleci-agent": {stderr: "second", err: errExit1}}, func(f *Finder) { f.Audience = "a" }, "",
			"circleci run oidc get made no token: first", ""},
		{"exit 0 with nothing", nil, map[string]said{"circleci": {stdout: " \n"}}, func(f *Finder) { f.Audience = "a" }, "", "circleci run oidc get made no token: it printed nothing", ""},
		{"exit 0 with an explanation", nil, map[string]said{"circleci": {stderr: "no permission\n"}}, func(f *Finder) { f.Audience = "a" }, "", "made no token: no permission", ""},
		{"exit 1 without one", nil, map[string]said{"circleci-agent": {err: errExit1}}, func(f *Finder) { f.Audience = "a" }, "", "circleci-agent run oidc get made no token: exit status 1", ""},
		{"exit 1 with a token", nil, map[string]said{"circleci": {stdout: good, err: errExit1}}, func(f *Finder) { f.Audience = "a" }, good, "made no token: exit status 1", ""},
		{"not a JWT", nil, map[string]said{"circleci": {stdout: "some-opaque-secret-token"}}, func(f *Finder) { f.Audience = "a" }, "some-opaque-secret-token", "the output of 'circleci run oidc get' has 1 part,", ""},
		{"a cut JWT", nil, map[string]said{"circleci": {stdout: good[:100]}}, func(f *Finder) { f.Audience = "a" }, good, "the output of 'circleci run oidc get' has ", ""},
		{"token in stderr", nil, map[string]said{"circleci": {stderr: "got " + good + ", which expired", err: errExit1}}, func(f *Finder) { f.Audience = "a" }, good, "made no token: got [secret], which expired", ""},
		{"cut token in stderr", nil, map[string]said{"circleci": {stderr: strings.Repeat("x ", 80) + good, err: errExit1}}, func(f *Finder) { f.Audience = "a" }, good, "[secret]", ""},
		{"terminal escapes in stderr", nil, map[string]said{"circleci": {stderr: "\x1b[31mred\rwhite\a\n", err: errExit1}}, func(f *Finder) { f.Audience = "a" }, "", "made no token: [31mred white", ""},

		{"not CircleCI", nil, nil, nil, "", "no OpenID Connect token: no CI job is detected", "sandbox"},
		{"not CircleCI, with the local CLI", nil, localCLI, nil, "", "no CI job is detected", "minting one failed as well: circleci run oidc get made no token: Error: unknown command"},
		{"fork", inCircleCI("CIRCLE_PR_REPONAME", "app"), nil, nil, "", "this is a build of a forked pull request", "vcs-origin"},
		{"fork, where minting fails", inCircleCI("CIRCLE_PR_USERNAME", "stranger"), localCLI, nil, "", "this is a build of a forked pull request", "minting one failed as well"},
		{"server", inCircleCI("CIRCLE_BUILD_URL", "https://ci.example.test:8443/gh/o/r/1"), nil, nil, "", "ci.example.test is a CircleCI server that issues none", "4.4"},
		{"a name that ends alike", inCircleCI("CIRCLE_BUILD_URL", "https://evilcircleci.com/1"), nil, nil, "", "evilcircleci.com is a CircleCI server", ""},
		{"plain", inCircleCI(), nil, nil, "", "neither CIRCLE_OIDC_TOKEN nor CIRCLE_OIDC_TOKEN_V2 is set, and no circleci or circleci-agent is on PATH", "docker run"},
		{"plain, circleci.com", inCircleCI("CIRCLE_BUILD_URL", "https://circleci.com/gh/o/r/1"), nil, nil, "", "neither CIRCLE_OIDC_TOKEN nor", "noexec"},
		{"plain, no build URL", inCircleCI("CIRCLE_BUILD_URL", "%"), nil, nil, "", "neither CIRCLE_OIDC_TOKEN nor", ""},
		{"plain, minting fails", inCircleCI(), localCLI, nil, "", "circleci run oidc get made no token: Error: unknown command", "local CLI"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(row.env, row.path)
			if row.options != nil {
				row.options(&w.Finder)
			}
			_, err := w.Find(t.Context())
			isTokenError(t, err, row.token, row.words)
			hints := strings.Join(fault.Hints(err), "\n")
			if !strings.Contains(hints, row.hint) || hints == "" {
				t.Errorf("hints %q, want one on %q", hints, row.hint)
			}
			if strings.ContainsAny(err.Error(), "\x1b\r\n\a") {
				t.Errorf("says %q", err)
			}
			if len(w.logs) != 0 {
				t.Errorf("logged %q", w.logs)
			}
		})
	}
}

func TestStderrIsShownShort(t *testing.T) {
	w := newWorld(nil, map[string]said{"circleci": {stderr: strings.Repeat("é", 1000) + "\nsecond", err: errExit1}})
	w.Audience = "a"
	_, err := w.Find(t.Context())
	isTokenError(t, err, "", strings.Repeat("?", 300)+"...") // as of a server's text: ASCII alone, bounded
	if strings.Count(err.Error(), "?") != 300 || strings.Contains(err.Error(), "second") {
		t.Errorf("says %q", err)
	}
}

func TestStderrHidesTokens(t *testing.T) {
	const key = "q7Zk3Xw9Lm2Vb8Nc4Rt6"
	w := newWorld(nil, map[string]said{"circleci": {stderr: "denied \u200b" + key + key, err: errExit1}})
	w.Audience = "a"
	_, err := w.Find(t.Context())
	isTokenError(t, err, key, "made no token: denied [secret]")
}

// The audience is the user's text: it ends up as one argument, as one JSON
// string.
func TestAudienceIsEscaped(t *testing.T) {
	for _, row := range []struct{ audience, want string }{
		{"sts.amazonaws.com", `{"aud":"sts.amazonaws.com"}`},
		{`a","sub":"b`, `{"aud":"a\",\"sub\":\"b"}`},
		{`\`, `{"aud":"\\"}`},
		{"zwei\nZeilen", `{"aud":"zwei\nZeilen"}`},
		{"schlüssel 🔑", `{"aud":"schlüssel 🔑"}`},
		{"help; $(id)", `{"aud":"help; $(id)"}`},
		{"//iam.googleapis.com/projects/1/x?a=1", `{"aud":"//iam.googleapis.com/projects/1/x?a=1"}`},
	} {
		w := newWorld(nil, map[string]said{"circleci": {stdout: tokenOf("minted", time.Hour)}})
		w.Audience = row.audience
		if _, err := w.Find(t.Context()); err != nil {
			t.Errorf("%q: %v", row.audience, err)
		}
		if diff := cmp.Diff([][]string{{"circleci", "run", "oidc", "get", "--claims", row.want}}, w.argv); diff != "" {
			t.Errorf("%q: %s", row.audience, diff)
		}
	}
}

func TestHangingMinter(t *testing.T) {
	hangs := func(w *world, wait func(context.Context)) func(context.Context, ...string) ([]byte, []byte, error) {
		return func(ctx context.Context, argv ...string) ([]byte, []byte, error) {
			w.argv = append(w.argv, argv)
			wait(ctx)
			return nil, nil, fmt.Errorf("did not end: %w", ctx.Err())
		}
	}
	t.Run("is given a part of the time", func(t *testing.T) {
		w := newWorld(nil, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		whole, _ := ctx.Deadline()
		w.Run = func(ctx context.Context, _ ...string) ([]byte, []byte, error) {
			if d, ok := ctx.Deadline(); !ok || whole.Sub(d) < 50*time.Minute {
				t.Errorf("may run until %s, the command until %s", d, whole)
			}
			return nil, nil, fs.ErrNotExist
		}
		_, _ = w.Find(ctx)
	})
	t.Run("to the end", func(t *testing.T) {
		w := newWorld(map[string]string{"CIRCLECI": "true", "TMPDIR": t.TempDir()}, nil)
		w.Run = hangs(w, func(ctx context.Context) { <-ctx.Done() })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := w.Find(ctx)
		isTokenError(t, err, "", "circleci run oidc get did not end in time")
	})
	t.Run("while the token still lives", func(t *testing.T) {
		w := newWorld(map[string]string{EnvV1: tokenOf("soon", 30*time.Second)}, nil)
		w.Run = hangs(w, func(ctx context.Context) { <-ctx.Done() })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if got, err := w.Find(ctx); err != nil || got.Subject != "soon" {
			t.Errorf("found %q, %v", got.Subject, err)
		}
	})
	for name, env := range map[string]map[string]string{"interrupted": nil, "interrupted with a token": {EnvV1: tokenOf("soon", 30*time.Second)}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(env, nil)
			ctx, cancel := context.WithCancel(t.Context())
			w.Run = hangs(w, func(context.Context) { cancel() })
			if _, err := w.Find(ctx); err != context.Canceled || len(w.argv) != 1 {
				t.Errorf("%v after %v", err, w.argv)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	jwt := tokenOf("a", time.Hour)
	for _, row := range []struct {
		name  string
		f     Finder
		words string // "": it is fine
	}{
		{"nothing", Finder{}, ""},
		{"token-env", Finder{Env: "A"}, ""},
		{"token-file", Finder{File: "my-long-directory-name/file.with-a-long-extension.txt"}, ""},
		{"audience", Finder{Audience: "https://iam.googleapis.com/projects/1234567890123456/locations.global.workloadIdentityPools"}, ""},
		{"v1", Finder{Version: "v1"}, ""},
		{"v2", Finder{Version: "v2"}, ""},
		{"env and file", Finder{Env: "A", File: "b"}, "token-env and token-file each name the token"},
		{"env and audience", Finder{Env: "A", Audience: "b"}, "token-env and audience each name the token"},
		{"all three", Finder{Env: "A", File: "b", Audience: "c"}, "token-env and token-file and audience each name the token"},
		{"V2", Finder{Version: "V2"}, `token-version "V2" is neither v1 nor v2`},
		{"v3", Finder{Version: "v3"}, `token-version "v3" is neither v1 nor v2`},
		// --token-env "$CIRCLE_OIDC_TOKEN"
		{"a token for token-env", Finder{Env: jwt}, "token-env is given a token itself"},
		{"a token for token-file", Finder{File: " " + jwt}, "token-file is given a token itself"},
		{"a token for audience", Finder{Audience: jwt}, "audience is given a token itself"},
		{"a cut token", Finder{File: jwt[:100]}, "token-file is given a token itself"},
		{"a token for token-version", Finder{Version: jwt}, "token-version is given a token itself"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := row.f.Check()
			if row.words == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.words) || fault.KindOf(err) != fault.Usage {
				t.Fatalf("%v, want a usage error that says %q", err, row.words)
			}
			if text, ok := leaks(jwt, append(fault.Hints(err), err.Error())...); ok {
				t.Errorf("shows a part of the token: %s", text)
			}
			w := newWorld(nil, nil)
			w.Env, w.File, w.Audience, w.Version = row.f.Env, row.f.File, row.f.Audience, row.f.Version
			if _, found := w.Find(t.Context()); found == nil || found.Error() != err.Error() {
				t.Errorf("Find says %v", found)
			}
		})
	}
}

func TestFilesThatHoldNoToken(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := tokenOf("a", time.Hour)
	for _, row := range []struct {
		name, file string
		stdin      io.Reader
		kind       fault.Kind
		words      string
	}{
		{"none", filepath.Join(dir, "none"), nil, fault.Local, `none"`},
		{"directory", dir, nil, fault.Local, "cannot read"},
		{"empty", write("empty", ""), nil, fault.Token, `empty" is empty`},
		{"appended twice", write("twice", good+"\n"+good+"\n"), nil, fault.Token, "has 5 parts"},
		{"far too long", write("long", strings.Repeat(good, 100)), nil, fault.Local, "is larger than 20002 bytes"},
		{"a byte too long", write("byte", good+strings.Repeat("A", 20001-len(good))), nil, fault.Token, "has 20001 bytes"},
		{"empty stdin", "-", strings.NewReader(""), fault.Token, "the token in standard input is empty"},
		{"endless stdin", "-", endless{}, fault.Token, "the token in standard input has 20002 bytes"},
		{"broken stdin", "-", iotest.ErrReader(errors.New(good)), fault.Local, "cannot read the token from standard input"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(nil, nil)
			w.File, w.Stdin = row.file, row.stdin
			_, err := w.Find(t.Context())
			if fault.KindOf(err) != row.kind || !strings.Contains(err.Error(), row.words) {
				t.Errorf("kind %d: %v; want kind %d and the words %q", fault.KindOf(err), err, row.kind, row.words)
			}
			if text, ok := leaks(good, append(fault.Hints(err), err.Error())...); ok {
				t.Errorf("shows a part of the token: %s", text)
			}
		})
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'A'
	}
	return len(b), nil
}
