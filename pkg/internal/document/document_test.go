package document

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestDocumentErrors(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"empty", " \n", "the document is empty"},
		{"not JSON", "hello", "line 1, column 1: not JSON: invalid character 'h' looking for beginning of value"},
		{"cut off", "{\n \"a\": [1,", "line 2, column 10: not JSON: it ends too early"},
		{"two documents", "{}\n{}", "line 2, column 1: something follows the document"},
		{"rubbish behind", "{} x", "line 1, column 4: something follows the document"},
		{"no comma", "{\"a\": 1\n  \"b\": 2}", "line 2, column 3: not JSON: invalid character '\"' after object key:value pair"},
		{"not UTF-8", "{\"a\":\n\"\xff\"}", "line 2, column 2: the document is not UTF-8"},
		{"too long", `"` + strings.Repeat("x", MaxDocument) + `"`, "the document has 1048578 bytes, more than the 1048576 that are read"},
		{"too deep", strings.Repeat("[", 100), "line 1, column 66: nested deeper than 64 levels"},
	} {
		_, err := Parse([]byte(row.text))
		if err == nil || err.Error() != row.want || fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestDocumentPlaces(t *testing.T) {
	n, err := Parse([]byte("\ufeff{\n  \"a\": [true, {\"b\": 1}],\n  \"c\": {\"d\": null,\n        \"d\": 12345678901234567890}\n}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Get("a").Items[1].Get("b"); got.At() != "line 2, column 21" || got.Kind != Number {
		t.Errorf("b is %s at %s", got.Kind, got.At())
	}
	d := n.Duplicate()
	if d == nil || d.Name != "d" || d.At() != "line 4, column 9" {
		t.Errorf("duplicate: %+v", d)
	}
	if got := n.Get("c").Get("d"); got.Text != "12345678901234567890" {
		t.Errorf("of two members the last counts, got %q", got.Text)
	}
}

// What the reader makes of a document is what encoding/json makes of it.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{`{}`, `[1, "a\u00e9", {"b": [null, true, 1e3]}]`, "\ufeff{\"a\":1}", `{"a":1,"a":{"a":2}}`, "{\"a\" :\n1 }", `"`, `[1 2]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Parse(b)
		if err != nil {
			if fault.KindOf(err) != fault.Usage {
				t.Fatalf("%v is no usage error", err)
			}
			return
		}
		d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\ufeff"))))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("taken, but encoding/json says %v", err)
		}
		if !reflect.DeepEqual(want, n.Any()) {
			t.Fatalf("%v, want %v", n.Any(), want)
		}
	})
}
