package ini

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// FuzzBotocore: what the editor takes, botocore takes, before and after; it finds
// our settings, and all else as it was.
func FuzzBotocore(f *testing.F) {
	for _, row := range rows() {
		if len(row.old) < 1000 {
			f.Add([]byte(row.old))
		}
	}
	for _, row := range refusedRows() {
		f.Add([]byte(row.old))
	}
	ask := oracle(f)
	f.Fuzz(func(t *testing.T, old []byte) {
		for _, s := range []Change{deploy, byDefault, keys} {
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
