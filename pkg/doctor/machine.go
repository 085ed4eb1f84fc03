package doctor

import (
	"cmp"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// The clouds allow for this much between their clock and a token's times: STS five
// minutes, Google and Vault no more than one.
const (
	slightSkew = time.Minute
	fatalSkew  = 5 * time.Minute
)

func machineChecks() []check {
	return []check{
		{"ca-roots", "there are certificates of authorities to trust", caRoots},
		{"temp-dir", "the temporary directory can be written to, and programs run from there", tempDir},
		{"home", "the home directory can be written to", homeDir},
		{"proxy", "the proxy variables mean the same to every tool", proxies},
		{"clock", "this machine's clock agrees with the token", clock},
		{"leftovers", "nothing is left of an earlier job", leftovers},
		{"version", "this is a released version", released},
	}
}

func caRoots(v *view) []Finding {
	where := remote.Roots(v.goos, v.get)
	if where == "" {
		f := fails("no certificate of any authority is there").
			because("no cloud can be called: TLS trusts nobody").
			remedy("install the ca-certificates package in the image (apk add ca-certificates, apt-get install ca-certificates)")
		if named := v.set("SSL_CERT_FILE", "SSL_CERT_DIR"); len(named) > 0 {
			f = f.remedy("%s: name what is there, or unset it", strings.Join(named, ", "))
		}
		return []Finding{f}
	}
	if named := v.get("SSL_CERT_FILE"); named != "" {
		if _, _, err := v.read(named, 1); err != nil {
			return []Finding{warns("SSL_CERT_FILE names %s, which cannot be read: %v", v.place(named), err).
				because("some programs trust nobody then, others the certificates of a directory").
				remedy("name a PEM file of the authorities, or unset it")}
		}
	}
	return []Finding{passes("the authorities' certificates are in %s", v.place(where))}
}

// tempDir is where programs make their temporary files.
func (v *view) tempDir() string { return cmp.Or(v.get("TMPDIR"), v.TempDir) }

// writable makes a file in a directory, and removes it.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".oidc-broker-doctor-*")
	if err != nil {
		return unwrapped(err)
	}
	_, err = f.Write([]byte("x")) // a full disk takes the name, not the byte
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if rerr := os.Remove(f.Name()); err == nil {
		err = rerr
	}
	return unwrapped(err)
}

func tempDir(v *view) []Finding {
	dir := v.tempDir()
	if err := writable(v.abs(dir)); err != nil {
		return []Finding{fails("the temporary directory %s cannot be written to: %v", v.place(dir), err).
			because("'gcp exec' and the sandbox put their files there, and so do nearly all tools; a self-hosted runner makes no token without it").
			remedy("make it writable for this user, or set TMPDIR to a directory that is")}
	}
	if v.noexec(v.abs(dir)) {
		return []Finding{warns("the temporary directory %s is mounted noexec", v.place(dir)).
			because("a self-hosted runner makes the job's token with a program that it unpacks there: without it, there is no token").
			remedy("mount it exec, or set TMPDIR for the runner")}
	}
	return nil
}

func homeDir(v *view) []Finding {
	home := v.home()
	const why = "profiles, credential configurations, caches and the record for 'oidc-broker cleanup' are kept there"
	if home == "" {
		return []Finding{warns("HOME is not set").because(why).
			remedy("set HOME, or AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE and XDG_CONFIG_HOME; env and exec work without")}
	}
	if !filepath.IsAbs(home) {
		return []Finding{warns("HOME is %q, which is not an absolute path", home).because(why).
			remedy("write the path in full: commands that write there refuse it")}
	}
	info, err := os.Stat(home)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err == nil {
		err = writable(home)
	}
	if err != nil {
		return []Finding{warns("the home directory %s cannot be written to: %v", v.place(home), unwrapped(err)).because(why).
			remedy("set HOME to a directory of this user's (a container that runs as another user than its image meant has none)")}
	}
	return nil
}

func proxies(v *view) []Finding {
	var all []Finding
	for _, upper := range []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"} {
		lower := strings.ToLower(upper)
		one, two := v.get(upper), v.get(lower)
		if one != "" && two != "" && one != two && v.goos != "windows" {
			all = append(all, warns("%s and %s differ", upper, lower).
				because("each tool prefers another one").remedy("set both to the same, or one of them"))
		}
	}
	proxy, name := v.first("HTTPS_PROXY", "https_proxy")
	if proxy == "" {
		return all
	}
	if u, err := url.Parse(proxy); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" && u.Scheme != "socks5h" {
		all = append(all, warns("%s is no URL of a proxy", name).
			because("tools disagree about it: some call without a proxy, some not at all").
			remedy("write it as http://HOST:PORT"))
	}
	none, _ := v.first("NO_PROXY", "no_proxy")
	if none != "*" && (!listed(none, "127.0.0.1") || !listed(none, "localhost")) {
		all = append(all, notes("%s is set, and NO_PROXY lacks 127.0.0.1 or localhost", name).
			because("curl, the AWS CLI and gcloud then ask the proxy for what is on this machine: the sandbox, and the endpoint of 'aws exec --refresh'").
			remedy("NO_PROXY=127.0.0.1,localhost, and what is there already"))
	}
	return all
}

// listed says whether a host stands in a NO_PROXY.
func listed(list, host string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(item) == host {
			return true
		}
	}
	return false
}

func clock(v *view) []Finding {
	j := v.job()
	if !j.found || j.IssuedAt.IsZero() {
		return nil
	}
	ahead := j.IssuedAt.Sub(v.Now).Round(time.Second)
	if ahead <= slightSkew {
		return nil
	}
	f := warns("the token was issued %s from now, by this machine's clock", ahead).
		because("the clock is behind: the clouds sign and judge by theirs, and take requests and tokens for too old or too new").
		remedy("set the clock (chrony, or the hypervisor's); --online says how far it is off")
	if ahead > fatalSkew {
		f.Severity = Error
	}
	return []Finding{f}
}

// leftovers are what 'oidc-broker cleanup' would have taken back at the end of the
// job before: a self-hosted runner keeps it.
func leftovers(v *view) []Finding {
	if v.Journal == nil {
		return nil
	}
	paths, err := v.Journal.OfOthers()
	if err != nil {
		f := failed(err).orRemedy("look at it, and remove it")
		f.Severity = Warning
		return []Finding{f.because("nothing that is written from now on is recorded, and 'oidc-broker cleanup' takes nothing back")}
	}
	if len(paths) == 0 || v.Journal.Job == "" {
		return nil
	}
	for i, p := range paths {
		paths[i] = v.place(p)
	}
	return []Finding{warns("an earlier job on this machine has left its credentials: %s", fault.Names(paths)).
		because("tools take them for this job's, and whoever runs code here can read them").
		remedy("oidc-broker cleanup now, and in a last step with 'when: always'")}
}

func released(v *view) []Finding {
	return []Finding{passes("oidc-broker %s", v.Version)}
}
