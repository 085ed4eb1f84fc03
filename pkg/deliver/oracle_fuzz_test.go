package deliver

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// FuzzShells: each real shell that is here reads back the bytes, and prints them
// itself: a child of it would be a process more for each.
func FuzzShells(f *testing.F) {
	// What shells are known for is tested by TestRealShellsReadBackTheSameBytes.
	f.Add("it's $(id) `id` \\", "!\n\n")
	f.Add("\\'", "caf\u00e9\xff\x1b[31m")
	f.Add("-n", "%s\\x41")
	f.Fuzz(func(t *testing.T, a, b string) {
		values := []string{a, b, a + b, b + "'" + a, a + "\n", `\` + b}
		for i, v := range values {
			values[i] = strings.ReplaceAll(v, "\x00", "")
		}
		for _, r := range readers() {
			if _, err := exec.LookPath(r.argv[0]); err != nil || r.shell == "powershell" {
				continue // that they are there is for TestRealShellsReadBackTheSameBytes to say
			}
			script, err := Render(r.shell, numbered(values))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(r.argv[0], r.argv[1:]...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C", "GONE=still here"}
			cmd.Stdin = strings.NewReader(string(script) + `printf '%s\0' "$V0" "$V1" "$V2" "$V3" "$V4" "$V5"` + "\n")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v: %.500s", r.name, err, out)
			}
			if diff := cmp.Diff(strings.Join(values, "\x00")+"\x00", string(out)); diff != "" {
				t.Errorf("%s (-written +read)\n%s", r.name, diff)
			}
		}
	})
}

// FuzzBotocore: what the editor takes, botocore takes, before and after; it finds
// our settings, and all else as it was.
func FuzzBotocore(f *testing.F) {
	for _, row := range iniRows() {
		if len(row.old) < 1000 {
			f.Add([]byte(row.old))
		}
	}
	for _, row := range refusedRows() {
		f.Add([]byte(row.old))
	}
	ask := oracle(f)
	f.Fuzz(func(t *testing.T, old []byte) {
		for _, s := range []Section{deploy, byDefault, keys} {
			got, err := s.Edit(old)
			if err != nil {
				continue
			}
			r := ask(t, [][]byte{old, got})
			botocoreEdit{section: s, old: old, new: got}.judge(t, r[0], r[1])
		}
	})
}

// oracle starts botocore once, for all files of a run.
func oracle(f *testing.F) func(*testing.T, [][]byte) []reading {
	f.Helper()
	testenv.NeedFull(f, "starts Python")
	if err := exec.Command("python3", "-c", "import botocore.configloader").Run(); err != nil {
		testenv.Missing(f, "botocore")
	}
	cmd := exec.Command("python3", "testdata/read_ini.py", "--lines")
	cmd.Env = append(os.Environ(), "PYTHONUTF8=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	answers := json.NewDecoder(bufio.NewReader(out))
	return func(t *testing.T, files [][]byte) []reading {
		var readings []reading
		if err := json.NewEncoder(in).Encode(files); err != nil {
			t.Fatal(err)
		}
		if err := answers.Decode(&readings); err != nil || len(readings) != len(files) {
			t.Fatalf("%d readings: %v", len(readings), err)
		}
		return readings
	}
}
