package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const marker = "hunter2-s3cr3t"

// Every verb of package fmt, and one it does not know.
var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%O", "%c", "%U", "%e", "%f", "%g", "%t", "%p", "%w", "% x", "%#x", "%10.3s", "%z"}

type exported struct{ Token Value }
type unexported struct{ token Value }
type deep struct {
	m map[string]Value
	l []Value
	p *Value
	i any
}

func TestEveryVerbHidesTheSecret(t *testing.T) {
	v := New(marker)
	hexed := fmt.Sprintf("%x", marker)
	for _, verb := range verbs {
		got := fmt.Sprintf(verb, v)
		// fmt settles these two itself, before it asks the value: they show
		// the label within the type's name.
		itself := verb == "%p" || verb == "%w"
		if got != redacted && !(itself && strings.Contains(got, redacted)) {
			t.Errorf("%s prints %q", verb, got)
		}
		for _, holder := range []any{&v, exported{v}, &exported{v}, unexported{v}, &unexported{v}, []Value{v}, map[string]Value{"a": v},
			deep{m: map[string]Value{"a": v}, l: []Value{v}, p: &v, i: v}} {
			got := fmt.Sprintf(verb, holder)
			if strings.Contains(got, marker) || strings.Contains(strings.ToLower(got), hexed) {
				t.Errorf("%s of %T leaks: %q", verb, holder, got)
			}
		}
	}
}

func TestUnexportedFieldSaysSecret(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		if got := fmt.Sprintf(verb, unexported{New(marker)}); !strings.Contains(got, redacted) {
			t.Errorf("%s prints %q, want it to say %s", verb, got, redacted)
		}
	}
}

func TestEncodersAndLoggersHideTheSecret(t *testing.T) {
	v := New(marker)
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(h)
		log.Info("got", "token", v, "holder", exported{v}, "hidden", unexported{v}, "pointer", &v)
		log.Info("grouped", slog.Group("g", "token", v))
	}
	for _, holder := range []any{v, &v, exported{v}, unexported{v}, map[string]any{"t": v}} {
		b, err := json.Marshal(holder)
		if err != nil {
			t.Error(err)
		}
		out.Write(b)
	}
	b, err := xml.Marshal(exported{v})
	if err != nil {
		t.Error(err)
	}
	out.Write(b)
	out.WriteString(errors.Join(fmt.Errorf("with %v", v)).Error())
	fmt.Fprint(&out, v, &v)
	fmt.Fprintln(&out, v)
	if strings.Contains(out.String(), marker) {
		t.Errorf("leaks: %s", out.String())
	}
	if n := strings.Count(out.String(), redacted); n < 12 {
		t.Errorf("says %s only %d times: %s", redacted, n, out.String())
	}
}

func TestValueItself(t *testing.T) {
	v := New(marker)
	if v.Reveal() != marker || v.Empty() {
		t.Error("the secret is lost")
	}
	if !(Value{}).Empty() || !New("").Empty() {
		t.Error("an empty secret is not empty")
	}
	if !v.Equal(New(marker)) || v.Equal(New(marker+"x")) || v.Equal(Value{}) {
		t.Error("Equal is wrong")
	}
}
