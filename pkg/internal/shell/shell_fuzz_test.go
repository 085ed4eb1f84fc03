package shell

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
