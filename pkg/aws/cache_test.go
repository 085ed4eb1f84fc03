package aws

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

var made = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func cachedFor(session time.Duration) Cached {
	return Cached{
		Credentials: Credentials{
			AccessKeyID: secret.New("ASIAID"), SecretAccessKey: secret.New("key/+="), SessionToken: secret.New("token=="),
			Expiration: made.Add(session), Account: "111122223333", ARN: "arn:aws:sts::111122223333:assumed-role/deploy/s", Region: "eu-west-1",
		},
		Made: made,
	}
}

func TestFresh(t *testing.T) {
	for _, row := range []struct {
		session, after time.Duration
		want           bool
	}{
		{time.Hour, 0, true},
		{time.Hour, 45 * time.Minute, true},
		{time.Hour, 45*time.Minute + time.Second, false},
		{time.Hour, 2 * time.Hour, false},
		{12 * time.Hour, 11*time.Hour + 45*time.Minute, true},
		{12 * time.Hour, 11*time.Hour + 46*time.Minute, false},
		{15 * time.Minute, 10 * time.Minute, true},
		{15 * time.Minute, 10*time.Minute + time.Second, false},
		{30 * time.Minute, 20 * time.Minute, true},
		{30 * time.Minute, 21 * time.Minute, false},
	} {
		if got := cachedFor(row.session).Fresh(made.Add(row.after)); got != row.want {
			t.Errorf("of %s after %s: %t", row.session, row.after, got)
		}
	}
	if (Cached{}).Fresh(made) || (Cached{}).JustTried(made) || (Cached{}).Left(made) > 0 {
		t.Error("nothing is fresh, tried or left")
	}
}

func TestJustTried(t *testing.T) {
	c := cachedFor(time.Hour)
	c.Tried = made.Add(50 * time.Minute)
	for after, want := range map[time.Duration]bool{50 * time.Minute: true, 50*time.Minute + 29*time.Second: true, 50*time.Minute + 30*time.Second: false} {
		if got := c.JustTried(made.Add(after)); got != want {
			t.Errorf("after %s: %t", after, got)
		}
	}
}

func TestReadCached(t *testing.T) {
	c := cachedFor(time.Hour)
	c.Tried = made.Add(50 * time.Minute)
	b, err := c.Store()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadCached(b, made.Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got, cmp.Comparer(func(a, b secret.Value) bool { return a.Equal(b) })); diff != "" {
		t.Errorf("read back otherwise:\n%s", diff)
	}
	whole, after := c, made.Add(55*time.Minute)
	for _, row := range []struct {
		name   string
		change func(*Cached)
		now    time.Time
		want   string
	}{
		{"no key", func(c *Cached) { c.AccessKeyID = secret.Value{} }, after, "no credentials"},
		{"a line break", func(c *Cached) { c.SecretAccessKey = secret.New("a\nb") }, after, "no credentials"},
		{"a quote", func(c *Cached) { c.SessionToken = secret.New(`a"`) }, after, "no credentials"},
		{"a clock a little back", func(*Cached) {}, made.Add(49*time.Minute + 30*time.Second), ""},
		{"tried in the future", func(*Cached) {}, made.Add(48 * time.Minute), "in the future"},
		{"made in the future", func(c *Cached) { c.Tried = time.Time{} }, made.Add(-2 * time.Minute), "in the future"},
		{"made a moment ahead", func(c *Cached) { c.Tried = time.Time{} }, made.Add(-time.Minute), ""},
		{"never made", func(c *Cached) { c.Made = time.Time{} }, after, "cannot be"},
		{"ends before it began", func(c *Cached) { c.Expiration = made }, after, "cannot be"},
		{"ends in a year", func(c *Cached) { c.Expiration = made.AddDate(1, 0, 0) }, after, "cannot be"},
		{"the longest session", func(c *Cached) { c.Expiration = made.Add(12 * time.Hour) }, after, ""},
	} {
		c := whole
		row.change(&c)
		b, err := c.Store()
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadCached(b, row.now)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	for _, b := range []string{"", "null", "{}", "[]", `{"accessKeyId":7}`, string(b[:len(b)-9])} {
		if _, err := ReadCached([]byte(b), made); err == nil {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// TestKeyKnowsEveryOption: each option and each variable that Resolve reads makes
// other credentials, and so another key.
func TestKeyKnowsEveryOption(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const statement = `{"Version":"2012-10-17","Statement":[%]}`
	policy := func(s string) string { return strings.Replace(statement, "%", s, 1) }
	second := "arn:aws:iam::222233334444:role/second"
	base := Options{RoleARN: testRole, ChainRoleARNs: []string{second}}
	rows := []struct {
		field  string // of Options, or ""
		option func(*Options)
		env    []string
	}{
		{"", func(*Options) {}, nil},
		{"RoleARN", func(o *Options) { o.RoleARN = "arn:aws:iam::111122223333:role/other" }, nil},
		{"SessionName", func(o *Options) { o.SessionName = "other" }, nil},
		{"Duration", func(o *Options) { o.Duration = "20m" }, nil},
		{"Region", func(o *Options) { o.Region = "eu-west-1" }, nil},
		{"Policy", func(o *Options) { o.Policy = policy("") }, nil},
		{"Policy", func(o *Options) { o.Policy = write("a", policy(`{"Effect":"Deny"}`)) }, nil},
		{"Policy", func(o *Options) { o.Policy = write("b", policy(`{"Effect":"Allow"}`)) }, nil},
		{"PolicyARNs", func(o *Options) { o.PolicyARNs = []string{"arn:aws:iam::aws:policy/A"} }, nil},
		{"PolicyARNs", func(o *Options) { o.PolicyARNs = []string{"arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"} }, nil},
		{"ChainRoleARNs", func(o *Options) { o.ChainRoleARNs = nil }, nil},
		{"ChainRoleARNs", func(o *Options) { o.ChainRoleARNs = []string{second, second} }, nil},
		{"ExternalIDs", func(o *Options) { o.ExternalIDs = []string{"id"} }, nil},
		{"SessionTags", func(o *Options) { o.SessionTags = []string{"Team=a"} }, nil},
		{"SessionTags", func(o *Options) { o.SessionTags = []string{"Team=b"} }, nil},
		{"TransitiveTagKeys", func(o *Options) { o.SessionTags, o.TransitiveTagKeys = []string{"Team=a"}, []string{"Team"} }, nil},
		{"SourceIdentity", func(o *Options) { o.SourceIdentity = "jo" }, nil},
		{"AllowedAccounts", func(o *Options) { o.AllowedAccounts = []string{"222233334444"} }, nil},
		{"", nil, []string{"CIRCLE_JOB", "other-job"}},
		{"", nil, []string{"AWS_ENDPOINT_URL_STS", "https://sts.example.com"}},
		{"", nil, []string{"AWS_ENDPOINT_URL", "https://sts.example.org"}},
		{"", nil, []string{"AWS_USE_FIPS_ENDPOINT", "true"}},
		{"", nil, []string{"AWS_USE_DUALSTACK_ENDPOINT", "true"}},
	}
	// What comes via another role is apply's, which keeps nothing in the cache. Where a
	// region is from, and how a file is read, does not change what AWS returns.
	seen, covered := map[[32]byte]int{}, map[string]bool{"Via": true, "RegionFrom": true, "Read": true}
	for i, row := range rows {
		o := base
		if row.option != nil {
			row.option(&o)
		}
		covered[row.field] = true
		key := settled(t, o, env(row.env...)).Key("job")
		if other, ok := seen[key]; ok {
			t.Errorf("rows %d and %d have one key", other, i)
		}
		seen[key] = i
		if again := settled(t, o, env(row.env...)).Key("job"); again != key {
			t.Errorf("row %d has two keys", i)
		}
	}
	for i := range reflect.TypeFor[Options]().NumField() {
		if name := reflect.TypeFor[Options]().Field(i).Name; !covered[name] {
			t.Errorf("does %s change the key?", name)
		}
	}
	x := settled(t, base, env())
	for _, more := range [][]string{nil, {"jo", "b"}, {"job", ""}, {"", "job"}, {"another"}} {
		key := x.Key(more...)
		if _, ok := seen[key]; ok {
			t.Errorf("%q has the key of another", more)
		}
		seen[key] = -1
	}
	x.endpoint.caBundle = []byte("pem")
	if _, ok := seen[x.Key("job")]; ok {
		t.Error("the CA bundle does not change the key")
	}
}

func FuzzReadCached(f *testing.F) {
	b, err := cachedFor(time.Hour).Store()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"expiration":"2026-11-22T10:00:00Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadCached(b, made)
		if err != nil {
			return
		}
		if _, err := c.Process(); err != nil || c.Expiration.Sub(made) > maxDuration+freshness+ahead {
			t.Errorf("%v, until %s", err, c.Expiration)
		}
	})
}
