package doctor

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// The servers that are asked.
const (
	serverSTS       = "AWS STS"
	serverGoogleSTS = "Google's Security Token Service"
	serverGoogleIAM = "Google's IAM Credentials"
	serverIssuer    = "the token's issuer"
	serverVault     = "the Vault"
)

// reachedServer is one server, and how asking it went.
type reachedServer struct {
	name string
	used bool // the job's settings are about it
	remote.Probed
	err error
}

func onlineChecks() []check {
	return []check{
		{"online-issuer", "the issuer is reached", onlineIssuer},
		{"online-signature", "the token is signed by its issuer", onlineSignature},
		{"online-aws", "AWS STS is reached, or not needed", func(v *view) []Finding { return onlineServers(v, serverSTS) }},
		{"online-google", "Google's services are reached, or not needed", func(v *view) []Finding { return onlineServers(v, serverGoogleSTS, serverGoogleIAM) }},
		{"online-vault", "the Vault is reached, or not needed", onlineVault},
		{"online-clock", "this machine's clock is right", onlineClock},
	}
}

// reach asks all servers at once. None gets a token, or anything else that is not
// public.
func (v *view) reach() []reachedServer {
	client := *v.Client
	client.Attempts = min(client.Attempts, 2) // whether it is there, not whether it can be waited for
	client.AttemptTime = 10 * time.Second
	client.Origin = v.variableOf
	useAWS, useGoogle := v.usesAWS(), v.usesGoogle()
	unknown := !useAWS && !useGoogle && !v.usesVault()
	var all []reachedServer
	var ask []func(context.Context) (remote.Probed, error)
	add := func(name string, used bool, how func(context.Context) (remote.Probed, error)) {
		all = append(all, reachedServer{name: name, used: used})
		ask = append(ask, how)
	}
	if url := v.issuerURL(); url != "" {
		add(serverIssuer, true, func(ctx context.Context) (remote.Probed, error) { return client.Probe(ctx, url, nil) })
	}
	if useAWS || unknown {
		add(serverSTS, useAWS, func(ctx context.Context) (remote.Probed, error) { return aws.Probe(ctx, &client, v.region(), v.get) })
	}
	if o, _ := v.googleOptions(); useGoogle || unknown {
		sts, iam, err := o.Endpoints()
		google := func(url string) func(context.Context) (remote.Probed, error) {
			return func(ctx context.Context) (remote.Probed, error) {
				if err != nil {
					return remote.Probed{}, err
				}
				return client.Probe(ctx, url, nil)
			}
		}
		add(serverGoogleSTS, useGoogle, google(sts))
		add(serverGoogleIAM, useGoogle, google(iam))
	}
	if o, _ := v.vaultOptions(); v.usesVault() && o.Addr != "" {
		add(serverVault, true, func(ctx context.Context) (remote.Probed, error) { return reachVault(ctx, o, &client) })
	}
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i].Probed, all[i].err = ask[i](v.ctx) })
	}
	wg.Wait()
	return all
}

func reachVault(ctx context.Context, o vault.Options, c *remote.Client) (remote.Probed, error) {
	s, err := o.Resolve()
	if err != nil {
		return remote.Probed{}, err
	}
	return s.Probe(ctx, c)
}

// issuerURL is where the issuer's configuration is, which every cloud reads.
func (v *view) issuerURL() string {
	issuer := ""
	if j := v.job(); j.found {
		issuer = j.Issuer
	} else if org := v.get("CIRCLE_ORGANIZATION_ID"); v.inJob() && org != "" {
		issuer = ci.OrgIssuer(org)
	}
	if keys := v.get("CIRCLE_OIDC_JWKS_URL"); keys != "" && issuer != "" {
		return keys // the sandbox's issuer has its name only
	}
	if issuer == "" {
		return ""
	}
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}

// server returns how asking a server went; ok is false for one that was not asked.
func (v *view) server(name string) (s reachedServer, ok bool) {
	for _, s := range v.reached() {
		if s.name == name {
			return s, true
		}
	}
	return reachedServer{}, false
}

// notReached makes the finding of a server that was asked in vain.
func (s reachedServer) notReached() Finding {
	f := failed(s.err).orRemedy("open the way to it: the firewall's rules for jobs, the proxy in HTTPS_PROXY, NO_PROXY; is it the right server?")
	if f.kind == fault.Usage {
		f.kind = fault.Local // a setting that another check is about
	}
	f.Message = s.name + ": " + f.Message
	if !s.used {
		f.Severity = Note
		return f.because("nothing here says that the job needs it")
	}
	return f.because("the exchange fails as this did")
}

func onlineServers(v *view, names ...string) []Finding {
	var all []Finding
	for _, name := range names {
		s, asked := v.server(name)
		switch {
		case !asked:
		case s.err != nil:
			all = append(all, s.notReached())
		default:
			all = append(all, passes("%s is reached at %s", s.name, s.Host))
		}
	}
	return all
}

func onlineIssuer(v *view) []Finding {
	s, asked := v.server(serverIssuer)
	switch {
	case !asked:
		return nil
	case s.err != nil:
		f := s.notReached()
		f.Severity = Warning
		return []Finding{f.because("the clouds ask it for its keys, from where they are; from here it is not seen whether they can")}
	case s.Status != 200:
		return []Finding{fails("%s answers %d at %s", s.name, s.Status, s.Host).
			because("the clouds fetch its keys from there, and refuse tokens of an issuer that has none").
			remedy("is the organisation's id in the issuer right? On a CircleCI server, its administrator sets oidc_service.base_url")}
	}
	return []Finding{passes("%s is reached at %s", s.name, s.Host)}
}

func onlineSignature(v *view) []Finding {
	j := v.job()
	if s, asked := v.server(serverIssuer); !j.found || !asked || s.err != nil || s.Status != 200 {
		return nil
	}
	client := *v.Client
	client.Attempts = min(client.Attempts, 2)
	got, err := j.Verify(v.ctx, &client, v.get("CIRCLE_OIDC_JWKS_URL"))
	if err != nil {
		return []Finding{failed(err).because("every cloud makes the same check").orRemedy("take the token as CircleCI gives it; is its issuer the right one?")}
	}
	return []Finding{passes("the token is signed by the key %s of %s", got.KeyID, host(got.JWKS))}
}

func onlineVault(v *view) []Finding {
	s, asked := v.server(serverVault)
	if !asked {
		return nil
	}
	if s.err != nil {
		return []Finding{s.notReached()}
	}
	state, ok := vault.Healthy(s.Status)
	if !ok {
		return []Finding{fails("the Vault at %s is %s", s.Host, state).
			because("it takes no login").
			remedy("whoever runs it has to look; is VAULT_ADDR the right server?")}
	}
	return []Finding{passes("the Vault is reached at %s, %s", s.Host, state)}
}

// onlineClock compares this machine's clock with those of the servers. One of them
// can be wrong; two that agree are not.
func onlineClock(v *view) []Finding {
	var most time.Duration
	var by string
	n := 0
	for _, s := range v.reached() {
		if s.err != nil || s.Date.IsZero() {
			continue
		}
		n++
		ahead := s.Ahead().Round(time.Second)
		if by == "" || ahead.Abs() < most.Abs() {
			most, by = ahead, s.Host
		}
	}
	switch {
	case n == 0:
		return nil
	case most.Abs() <= slightSkew:
		return []Finding{passes("the clock agrees with that of %s", by)}
	}
	is := "behind"
	if most < 0 {
		is = "ahead of"
	}
	f := warns("this machine's clock is %s %s that of %s", most.Abs(), is, by).
		because("tokens and signed requests are judged by the clouds' clocks: AWS allows for five minutes, others for less").
		remedy("set the clock (chrony, or the hypervisor's)")
	if most.Abs() > fatalSkew {
		f.Severity = Error
		f.kind = fault.Local
	}
	return []Finding{f}
}
