package child

import "testing"

// TestNoProxy: what was kept from the proxy stays so, under both names.
func TestNoProxy(t *testing.T) {
	for _, row := range []struct{ upper, lower, want string }{
		{"", "", "127.0.0.1"},
		{"internal", "", "internal,127.0.0.1"},
		{"", "internal, .corp ", "internal,.corp,127.0.0.1"},
		{"a,b", "b,c", "a,b,c,127.0.0.1"},
		{"127.0.0.1,a", "", "127.0.0.1,a"},
		{"127.0.0.1:80", "", "127.0.0.1:80,127.0.0.1"},
		{"a,,", ",", "a,127.0.0.1"},
		{"*", "", "*"},
		{"a", "*", "*"},
	} {
		env := map[string]string{"NO_PROXY": row.upper, "no_proxy": row.lower}
		got := NoProxy(func(name string) string { return env[name] }, "127.0.0.1")
		if len(got) != 2 || got[0].Name != "NO_PROXY" || got[1].Name != "no_proxy" || got[0].Value.Reveal() != row.want || got[1].Value.Reveal() != row.want {
			t.Errorf("%q and %q become %v", row.upper, row.lower, got)
		}
	}
}
