package ini

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// reading is what botocore makes of a file.
type reading struct {
	Error     string
	Sections  map[string]map[string]any
	Profiles  map[string]map[string]any
	Inherited map[string]any // by every section
}

// botocore has the real thing read the files.
func botocore(t *testing.T, files [][]byte) []reading {
	t.Helper()
	testenv.NeedFull(t, "starts Python")
	if err := exec.Command("python3", "-c", "import botocore.configloader").Run(); err != nil {
		testenv.Missing(t, "botocore")
	}
	in, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "testdata/read_ini.py")
	cmd.Env = append(os.Environ(), "PYTHONUTF8=1")
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	var readings []reading
	if err := json.Unmarshal(out, &readings); err != nil {
		t.Fatal(err)
	}
	if len(readings) != len(files) {
		t.Fatalf("%d readings of %d files", len(readings), len(files))
	}
	return readings
}

func TestBotocoreRefusesWhatWeRefuse(t *testing.T) {
	rows := refusedRows()
	var files [][]byte
	for _, row := range rows {
		files = append(files, []byte(row.old))
	}
	for i, r := range botocore(t, files) {
		if (r.Error != "") == rows[i].onlyUs {
			t.Errorf("%s: botocore says %q", rows[i].name, r.Error)
		}
	}
}

// botocoreEdit is an edit that botocore is asked about.
type botocoreEdit struct {
	section  Change
	old, new []byte
	refused  bool
}

// TestBotocoreReadsWhatWeWrite: what we accept botocore accepts, before and
// after; it then finds our settings, and all else as it was.
func TestBotocoreReadsWhatWeWrite(t *testing.T) {
	var edits []botocoreEdit
	var files [][]byte
	add := func(s Change, old []byte) {
		got, err := s.Edit(old)
		edits = append(edits, botocoreEdit{s, old, got, err != nil})
		files = append(files, old, got)
	}
	for _, row := range rows() {
		if len(row.section.Set) > 0 {
			add(row.section, []byte(row.old))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		old := randomINI(random)
		for _, s := range []Change{deploy, byDefault, keys} {
			add(s, old)
		}
	}
	readings := botocore(t, files)
	accepted := 0
	for i, e := range edits {
		if !e.refused {
			accepted++
			e.judge(t, readings[2*i], readings[2*i+1])
		}
	}
	if accepted < len(edits)/10 {
		t.Errorf("only %d of %d files were accepted: the test says little", accepted, len(edits))
	}
}

func (e botocoreEdit) judge(t *testing.T, before, after reading) {
	t.Helper()
	if before.Error != "" || after.Error != "" {
		t.Fatalf("botocore refuses: before %q, after %q\nold %q\nnew %q", before.Error, after.Error, e.old, e.new)
	}
	name, config := strings.CutPrefix(e.section.Headers[0], "profile ")
	was, is := before.Sections, after.Sections
	if config || name == "default" {
		was, is = before.Profiles, after.Profiles
	}
	// A padded header is a section of another name to botocore, and only to
	// botocore. With something behind it, it is no section to the others, and stays.
	found := was[name]
	for header, section := range before.Sections {
		_, stays := after.Sections[header]
		if trimmed := strings.TrimSpace(header); trimmed != header && !stays && slices.Contains(e.section.Headers, trimmed) {
			found = section
			delete(was, header)
		}
	}
	if diff := cmp.Diff(want(found, before.Inherited, e.section), is[name]); diff != "" {
		t.Fatalf("our section (-want +got):\n%s\nold %q\nnew %q", diff, e.old, e.new)
	}
	delete(was, name)
	delete(is, name)
	if diff := cmp.Diff(was, is); diff != "" {
		t.Fatalf("other sections (-before +after):\n%s\nold %q\nnew %q", diff, e.old, e.new)
	}
}

// want returns what our section must hold after the edit.
func want(old, inherited map[string]any, s Change) map[string]any {
	mine := map[string]any{}
	maps.Copy(mine, old)
	for _, key := range s.Remove {
		delete(mine, key)
	}
	for key, value := range inherited {
		if _, there := mine[key]; !there {
			mine[key] = value
		}
	}
	for _, set := range s.Set {
		mine[set.Key] = set.Value.Reveal()
	}
	return mine
}

// randomINI makes files of lines that matter to one rule or another.
func randomINI(r *rand.Rand) []byte {
	lines := []string{
		"[default]", "[profile default]", "[profile deploy]", "[deploy]", "[profile  deploy]", "[profile 'deploy']", "[ deploy ]",
		"[other]", "[profile other] # c", "[DEFAULT]", "  [x]", "[se;mi]", "[a]b]", "[profile \"two words\"]", "[profilex deploy]", "[unclosed",
		"region = a", "region=b", "REGION : c", "  region = d", "output = json", "  output = text", "    deeper = 1", "s3 =", "  s3 =", "  nested = 1", "   nested",
		"role_arn = r", "\tcredential_process = p", "aws_access_key_id = A", "aws_security_token = T", " aws_session_token = S",
		"# comment", "  ; comment", "", "", "   ", "key", "= v", "long = " + strings.Repeat("v", 200), "utf8 = \u00e9\u2028x", "\u00a0nbsp = 1", "\x1csep = 1",
	}
	var b bytes.Buffer
	eols := []string{"\n", "\n", "\n", "\r\n"}
	b.WriteString("[first]\n")
	for range r.IntN(9) {
		line := lines[r.IntN(len(lines))]
		fmt.Fprintf(&b, "%s%s", line, eols[r.IntN(len(eols))])
	}
	if r.IntN(4) == 0 {
		b.Truncate(len(strings.TrimRight(b.String(), "\r\n")))
	}
	return b.Bytes()
}
