// Command bench measures the program beside the tools whose place it takes: whole
// processes, in turn, in one run, so that only the ratios between them count.
//
//	go run ./testdata/bench [-n 15] [-runs 3] [-markdown] [-only aws,far,cli,gcloud,vault,start,growth]
//
// It starts a TLS server that answers as AWS STS, Google STS, IAM Credentials and
// Vault do, with a certificate under a CA that stands at the end of the system's
// own bundle, and makes every client read all of that bundle, as in a job. Without
// -only it measures all but growth.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("n", 15, "rounds, each command once a round; a third of them beside the slow tools")
	runs := flag.Int("runs", 3, "series of so many rounds, whose medians' spread is shown")
	trip := flag.Duration("rtt", 20*time.Millisecond, "round trip of the servers that are far away")
	only := flag.String("only", "aws,far,cli,gcloud,vault,start", "what to measure, by commas; growth is the other one")
	markdown := flag.Bool("markdown", false, "print tables for docs/benchmarks.md")
	flag.Parse()
	withoutShims()
	dir, err := os.MkdirTemp("", "bench")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	b := newBench(dir, *trip)
	b.rounds, b.runs, b.markdown = *rounds, *runs, *markdown
	defer b.server.Close()
	groups := map[string]func(){"aws": b.aws, "far": b.far, "cli": b.cli, "gcloud": b.gcloud, "vault": b.vault, "start": b.start, "growth": b.growth}
	fmt.Printf("%s, %s, %s/%s, %d processors\n", time.Now().UTC().Format("2 January 2006"), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, name := range strings.Split(*only, ",") {
		measure, ok := groups[name]
		if !ok {
			log.Fatalf("nothing is called %q", name)
		}
		measure()
	}
}

// withoutShims puts the AWS CLI of pyenv's Python before pyenv's shim for it, which
// takes longer than it does: that is not the CLI's time.
func withoutShims() {
	path, err := exec.LookPath("aws")
	if err != nil || !strings.HasSuffix(filepath.Dir(path), filepath.Join(".pyenv", "shims")) {
		return
	}
	behind, err := exec.Command("pyenv", "which", "aws").Output()
	check(err)
	check(os.Setenv("PATH", filepath.Dir(strings.TrimSpace(string(behind)))+string(filepath.ListSeparator)+os.Getenv("PATH")))
}

// A bench is one run: the server, and what its clients need.
type bench struct {
	dir, binary, nothing, launch string
	bundle, ca                   string
	server                       *httptest.Server
	trip                         time.Duration
	rounds, runs                 int
	markdown                     bool
}

func newBench(dir string, trip time.Duration) *bench {
	b := &bench{dir: dir, trip: trip, ca: filepath.Join(dir, "ca.pem")}
	b.server, b.bundle = serve(dir)
	b.binary = build(dir, "oidc-broker", "./cmd/oidc-broker")
	b.launch = build(dir, "launch", "./testdata/bench/launch")
	b.nothing = nothing(dir)
	check(os.WriteFile(filepath.Join(dir, "form"), []byte("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=bench&RoleArn="+
		"arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fdeploy&WebIdentityToken="+token()), 0o600))
	check(os.WriteFile(filepath.Join(dir, "google"), []byte("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token="+token()), 0o600))
	return b
}

// env is a job's environment: what this machine sets about certificates is left out.
func (b *bench) env(server string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "SSL_CERT_FILE=" + b.bundle, "AWS_CA_BUNDLE=", "AWS_ENDPOINT_URL_STS=" + server, "CIRCLECI=true",
		"CIRCLE_OIDC_TOKEN=" + token(), "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/deploy", "AWS_REGION=us-east-1",
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_STS=" + server, "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS=" + server,
		"OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER=" + provider, "GCP_SERVICE_ACCOUNT_EMAIL=" + account, "CLOUDSDK_CONFIG=" + filepath.Join(b.dir, "gcloud")}, more...)
}

func (b *bench) curl(server string) []string {
	return []string{"curl", "-sS", "--fail", "--cacert", b.bundle, "--data-binary", "@" + filepath.Join(b.dir, "form"), server}
}

// twice is Google's exchange with two calls of curl.
func (b *bench) twice(server string) []string {
	call := "curl -sS --fail --cacert " + b.bundle + " --data-binary @" + filepath.Join(b.dir, "google") + " " + server
	return []string{"sh", "-ec", call + "/v1/token\n" + call + "/v1/projects/-/serviceAccounts/" + account + ":generateAccessToken"}
}

func (b *bench) ours(args ...string) *command {
	return &command{name: "oidc-broker " + strings.Join(args, " "), argv: append([]string{b.binary}, args...)}
}

// aws measures exchanges with a server on this machine.
func (b *bench) aws() {
	cold := b.ours("aws", "credential-process", "--no-cache")
	b.measure("Beside curl, the server on this machine", b.rounds, b.env(b.server.URL),
		&command{name: "curl, the same POST", argv: b.curl(b.server.URL)}, b.ours("aws", "env"), b.ours("aws", "--profile", "bench"), cold)
	b.measure("Google's two calls, beside two of curl, the server on this machine", b.rounds, b.env(b.server.URL),
		&command{name: "curl, twice", argv: b.twice(b.server.URL)}, b.ours("gcp", "env"))
}

// far measures the same with a round trip between client and server.
func (b *bench) far() {
	there := far(b.server.URL, b.trip)
	title := fmt.Sprintf(", at a round trip of %s", b.trip)
	b.measure("Beside curl"+title, b.rounds, b.env(there), &command{name: "curl, the same POST", argv: b.curl(there)}, b.ours("aws", "env"))
	b.measure("Google's two calls, beside two of curl"+title, b.rounds, b.env(there), &command{name: "curl, twice", argv: b.twice(there)}, b.ours("gcp", "env"))
}

// start measures what a process costs that does nothing else, and what one does
// that gives credentials out of the cache.
func (b *bench) start() {
	b.measure("A start", 3*b.rounds, b.env(b.server.URL), &command{name: "a Go program that does nothing", argv: []string{b.nothing}}, b.ours("version"))
	cached := b.ours("aws", "credential-process")
	cached.name += ", cached"
	b.measure("A cached credential-process", 3*b.rounds, b.env(b.server.URL), b.ours("version"), cached)
	info, err := os.Stat(b.binary)
	check(err)
	packed, err := exec.Command("sh", "-c", "tar -C "+b.dir+" -czf - oidc-broker | wc -c").Output()
	check(err)
	size, err := strconv.ParseFloat(strings.TrimSpace(string(packed)), 64)
	check(err)
	fmt.Printf("\nThe binary has %.2f MB, as .tar.gz %.2f MB.\n", float64(info.Size())/1e6, size/1e6)
	clock, packages := map[string]float64{}, regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock, (\d+) bytes, (\d+) allocs$`)
	var bytes, allocs int
	for range 15 {
		cmd := exec.Command(b.binary, "version")
		cmd.Env = append(b.env(b.server.URL), "GODEBUG=inittrace=1")
		var trace strings.Builder
		cmd.Stderr = &trace
		check(cmd.Run())
		bytes, allocs = 0, 0
		for _, m := range packages.FindAllStringSubmatch(trace.String(), -1) {
			took, _ := strconv.ParseFloat(m[2], 64)
			if least, ok := clock[m[1]]; !ok || took < least {
				clock[m[1]] = took
			}
			n, _ := strconv.Atoi(m[3])
			bytes += n
			n, _ = strconv.Atoi(m[4])
			allocs += n
		}
	}
	names := slices.SortedFunc(maps.Keys(clock), func(a, b string) int { return cmp.Compare(clock[b], clock[a]) })
	all := 0.0
	for _, took := range clock {
		all += took
	}
	fmt.Printf("Package initialisation: %d packages, %.1f ms (the least of each in 15 runs), %d KB, %d allocations. The longest:\n\n", len(clock), all, bytes/1000, allocs)
	for _, name := range names[:8] {
		fmt.Printf("    %-62s %.2f ms\n", name, clock[name])
	}
}

// cli measures beside the AWS CLI, and beside the step of CircleCI's aws-cli orb: an
// assume and four times configure set.
func (b *bench) cli() {
	if _, err := exec.LookPath("aws"); err != nil {
		fmt.Println("\nThere is no AWS CLI here.")
		return
	}
	// REQUESTS_CA_BUNDLE is for the CLI alone: it has a bundle of its own.
	env := append(b.env(b.server.URL), "REQUESTS_CA_BUNDLE="+b.bundle, "WEB_IDENTITY_TOKEN="+token())
	assume := `aws sts assume-role-with-web-identity --role-arn "$AWS_ROLE_ARN" --role-session-name bench --web-identity-token "$WEB_IDENTITY_TOKEN" --duration-seconds 3600 ` +
		`--query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' --output text`
	step := "read -r id key session <<E\n$(" + assume + ")\nE\n" +
		`for s in "aws_access_key_id $id" "aws_secret_access_key $key" "aws_session_token $session" "region us-east-1"; do aws configure set --profile orb $s; done`
	rounds := max(3, b.rounds/3)
	b.measure("Beside the AWS CLI", rounds, env, &command{name: "aws sts assume-role-with-web-identity", argv: []string{"sh", "-ec", assume}}, b.ours("aws", "env"))
	b.measure("Beside the aws-cli orb's step", rounds, env, &command{name: "assume, and four of configure set", argv: []string{"sh", "-ec", step}}, b.ours("aws", "--profile", "bench"))
}

const (
	provider = "projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/circleci"
	account  = "deploy@my-project.iam.gserviceaccount.com"
)

// gcloud measures create-cred-config beside gcloud's own, and 'gcp env', with its
// two calls, beside what the gcp-cli orb's step runs.
func (b *bench) gcloud() {
	if _, err := exec.LookPath("gcloud"); err != nil {
		fmt.Println("\nThere is no gcloud here.")
		return
	}
	out := filepath.Join(b.dir, "gcp.json")
	env := append(b.env(b.server.URL), "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE="+b.bundle, "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER="+b.server.URL+"/",
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE="+b.server.URL+"/compute/v1/")
	create := []string{"iam", "workload-identity-pools", "create-cred-config", provider, "--service-account=" + account, "--credential-source-file=" + out + ".token", "--output-file=" + out}
	// gcloud knows no other STS than Google's: sed points its file at ours.
	local := "sed -i 's#https://[a-z]*.googleapis.com/v1#" + b.server.URL + "/v1#' " + out
	step := "gcloud " + strings.Join(create, " ") + " && " + local + " && gcloud auth login --brief --cred-file=" + out + " && gcloud config set project my-project && " +
		"gcloud config set compute/zone europe-west3-a && gcloud config set compute/region europe-west3"
	check(os.WriteFile(out+".token", []byte(token()), 0o600))
	rounds := max(3, b.rounds/5)
	mine := b.ours(append([]string{"gcp", "create-cred-config"}, create[3:]...)...)
	mine.name = "oidc-broker gcp create-cred-config"
	b.measure("Beside gcloud", rounds, env, &command{name: "gcloud ... create-cred-config", argv: append([]string{"gcloud", "--quiet"}, create...)}, mine)
	b.measure("Beside the gcp-cli orb's step", rounds, env, &command{name: "create-cred-config, login, three of config set", argv: []string{"sh", "-c", step}}, b.ours("gcp", "env"))
}

// vault measures a login, two reads and the revocation: in one process of ours, in
// one of curl and in four, and in four of the Vault CLI where there is one.
func (b *bench) vault() {
	server, ca := b.server.URL, b.ca
	body := filepath.Join(b.dir, "login.json")
	check(os.WriteFile(body, []byte(`{"role":"deploy","jwt":"`+token()+`"}`), 0o600))
	env := append(b.env(server), "VAULT_ADDR="+server, "VAULT_CACERT="+ca, "VAULT_ROLE=deploy", "JWT="+body)
	with := func(args ...string) []string { return append([]string{"-sS", "--fail", "--cacert", ca}, args...) }
	login := with("--data-binary", "@"+body, server+"/v1/auth/jwt/login")
	app := with("-H", "X-Vault-Token: hvs.x", server+"/v1/secret/data/ci/app")
	db := with("-H", "X-Vault-Token: hvs.x", server+"/v1/secret/data/ci/db")
	revoke := with("-H", "X-Vault-Token: hvs.x", "-X", "POST", server+"/v1/auth/token/revoke-self")
	one := []string{"curl"}
	steps := make([]string, 0, 4)
	for _, args := range [][]string{login, app, db, revoke} {
		if len(one) > 1 {
			one = append(one, "--next")
		}
		one = append(one, args...)
		quoted := make([]string, len(args))
		for i, a := range args {
			quoted[i] = "'" + a + "'"
		}
		steps = append(steps, "curl "+strings.Join(quoted, " "))
	}
	commands := []*command{
		{name: "curl, four requests in one", argv: one},
		{name: "curl, four steps", argv: []string{"sh", "-ec", strings.Join(steps, "\n")}},
		{name: "oidc-broker vault read", argv: []string{b.binary, "vault", "read", "--secret", "secret/data/ci/app password", "--secret", "secret/data/ci/db password"}},
	}
	for _, cli := range []string{"vault", "bao"} {
		if path, err := exec.LookPath(cli); err == nil {
			commands = append(commands, &command{name: cli + " CLI, four steps", argv: []string{"sh", "-ec",
				path + " write -field=token auth/jwt/login role=deploy jwt=$(cat $JWT)\nexport VAULT_TOKEN=hvs.x\n" +
					path + " kv get -field=password secret/ci/app\n" + path + " kv get -field=password secret/ci/db\n" + path + " token revoke -self"}})
		}
	}
	b.measure("A Vault login, two reads and the revocation", b.rounds, env, commands...)
}

// A command is measured as a whole process.
type command struct {
	name      string
	argv      []string
	wall, cpu []float64 // ms
	peak      float64   // MiB
}

// run runs it once. The first runs fill caches of files, and are not counted.
func (c *command) run(env []string, counted bool) {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		log.Fatalf("%s: %v: %s", c.name, err, stderr.String())
	}
	if !counted {
		return
	}
	c.wall = append(c.wall, float64(time.Since(start).Microseconds())/1000)
	c.cpu = append(c.cpu, float64((cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Microseconds())/1000)
}

// measure runs commands in turn, twice to warm up and then in several series, and
// prints them beside the first: medians of all, and in brackets the least and the
// greatest of the series' medians.
func (b *bench) measure(title string, rounds int, env []string, commands ...*command) {
	for i := range rounds*b.runs + 2 {
		for _, c := range commands {
			c.run(env, i >= 2)
		}
	}
	for _, c := range commands {
		c.peak = b.peak(c, env)
	}
	base := commands[0]
	fmt.Printf("\n%s, medians of %d in %d series:\n\n", title, rounds, b.runs)
	line := "%-50s %9.1f %9.1f %9s %20s %20s\n"
	if b.markdown {
		fmt.Println("| command | wall ms | CPU ms | peak MiB | wall | CPU |\n|---|---|---|---|---|---|")
		line = "| %s | %.1f | %.1f | %s | %s | %s |\n"
	} else {
		fmt.Printf("%-50s %9s %9s %9s %20s %20s\n", "", "wall ms", "CPU ms", "peak MiB", "wall", "CPU")
	}
	for _, c := range commands {
		peak := ""
		if c.peak > 0 {
			peak = fmt.Sprintf("%.1f", c.peak)
		}
		fmt.Printf(line, c.name, median(c.wall), median(c.cpu), peak, spread(ratios(c.wall, base.wall), rounds), spread(ratios(c.cpu, base.cpu), rounds))
	}
}

// spread is the median of ratios, and that of each series of n of them.
func spread(ratios []float64, n int) string {
	var medians []float64
	for series := range slices.Chunk(ratios, n) {
		medians = append(medians, median(series))
	}
	// What is 95 times faster is not 0.01 of it.
	form := func(r float64) string {
		if r < 0.1 {
			return fmt.Sprintf("1/%.0f", 1/r)
		}
		return fmt.Sprintf("%.2f", r)
	}
	all := median(ratios)
	least, most := slices.Min(medians), slices.Max(medians)
	if form(least) == form(most) {
		return form(all)
	}
	return fmt.Sprintf("%s (%s-%s)", form(all), form(least), form(most))
}

// peak is the most memory that a command has at once, of three runs, in MiB.
func (b *bench) peak(c *command, env []string) float64 {
	if c.argv[0] == "sh" { // its own is not that of the programs it runs
		return 0
	}
	most := 0.0
	for range 3 {
		path, err := exec.LookPath(c.argv[0])
		check(err)
		file := filepath.Join(b.dir, "peak")
		cmd := exec.Command(b.launch, append([]string{file, path}, c.argv[1:]...)...)
		cmd.Env, cmd.Stderr = env, os.Stderr
		check(cmd.Run())
		text, err := os.ReadFile(file)
		check(err)
		kib, err := strconv.ParseFloat(string(text), 64)
		check(err)
		most = max(most, kib/1024)
	}
	return most
}

// ratios pairs what ran in the same round.
func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.SortFunc(v, cmp.Compare[float64])
	return v[len(v)/2]
}

func build(dir, name, pkg string) string {
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	check(cmd.Run())
	// How a file was written decides how the kernel keeps and maps its pages, and
	// that a tenth of a start, and a third of its memory. Users unpack it: tar
	// writes pieces of 10 KiB, the linker does not.
	whole, err := os.ReadFile(out)
	check(err)
	check(os.Remove(out))
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700) // #nosec G302 -- a program
	check(err)
	for piece := range slices.Chunk(whole, 10<<10) {
		_, err := f.Write(piece)
		check(err)
	}
	check(f.Close())
	return out
}

func nothing(dir string) string {
	src := filepath.Join(dir, "nothing.go")
	check(os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o600))
	return build(dir, "nothing", src)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
