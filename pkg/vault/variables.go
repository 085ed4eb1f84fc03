package vault

import (
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// CheckVariables returns a fault.Usage where what was asked for cannot all be
// environment variables. Whoever writes a secret chooses the names of its fields: of
// those that nobody named, a variable begins with a prefix under which no program
// looks for its settings.
func (s *Server) CheckVariables() error {
	var named []Secret
	for _, w := range s.Secrets {
		got := Secret{Path: w.Path, wanted: w}
		for _, f := range w.fields {
			switch {
			case f.all && (!f.named || f.prefix == ""):
				return fault.New(fault.Usage, "%s %s: all fields under their own names could set any variable, such as PATH or AWS_ENDPOINT_URL", fault.Option("secret"), w.Path).
					Hint("name those that are wanted: %s", w.suggest("password=DB_PASSWORD")).
					Hint("or give all of them a prefix: %s", w.suggest("*=APP_*"))
			case f.all:
				if err := w.checkPrefix(f.prefix); err != nil {
					return err
				}
			default:
				got.Values = append(got.Values, Value{Field: f.name, Variable: f.variable})
			}
		}
		named = append(named, got)
	}
	_, err := variables(named)
	return err
}

func (w *Wanted) checkPrefix(prefix string) error {
	switch {
	case !strings.HasSuffix(prefix, "_") || len(strings.Trim(prefix, "_")) < 2:
		return fault.New(fault.Usage, "%s %s: the prefix %q does not set the variables apart from those of programs", fault.Option("secret"), w.Path, prefix).
			Hint("a prefix has two letters or more and ends in an underscore: %s", w.suggest("*=APP_*"))
	case settings(prefix):
		return fault.New(fault.Usage, "%s %s: programs look for their settings under %q, so that a field's name could change what they do", fault.Option("secret"), w.Path, prefix).
			Hint("take a prefix of your own, %s, or name the fields: %s", w.suggest("*=APP_*"), w.suggest("password=DB_PASSWORD"))
	}
	return nil
}

// settings says that programs look for settings under the prefix, which ends in an
// underscore: the table has what is before their first one. Only a prefix is looked
// up, which the user chose: the table warns, and is not what holds an attacker back.
func settings(prefix string) bool {
	prefix = strings.ToUpper(strings.TrimLeft(prefix, "_"))
	if rest, ok := strings.CutPrefix(prefix, "TF_VAR_"); ok || rest == "" {
		return false // values of Terraform's variables, which it does nothing else with
	}
	first, _, _ := strings.Cut(prefix, "_")
	return slices.Contains(strings.Fields(programs), first)
}

// programs are those whose settings have variables of several words.
const programs = `
	AWS AMAZON BOTO ECS EC2 EKS SAM CDK GOOGLE GCLOUD GCP GCE GCS CLOUDSDK BIGQUERY AZURE AZ ARM MSI ALIBABA ALICLOUD OCI OKTA CLOUDFLARE
	DIGITALOCEAN LINODE HCLOUD FLY HEROKU VAULT BAO OPENBAO CONSUL NOMAD PACKER VAGRANT BOUNDARY TF TFE TERRAFORM TERRAGRUNT TOFU OPENTOFU
	PULUMI ANSIBLE CHEF PUPPET SALT OIDC ACTIONS CIRCLE CIRCLECI CI GITHUB GH GITLAB GL GIT HG SVN BUILDKITE BITBUCKET JENKINS HUDSON TRAVIS DRONE
	TEAMCITY RUNNER AGENT SYSTEM LD DYLD GLIBC MALLOC GCONV NSS RES LOCALDOMAIN HOSTALIASES BASH ZSH FISH POSIXLY PROMPT PS HIST INPUTRC SHELL SUDO SSH
	NODE NPM NVM YARN PNPM BUN DENO COREPACK ELECTRON NEXT NUXT VITE REACT WEBPACK BABEL TS ESLINT JEST PLAYWRIGHT PUPPETEER CYPRESS PYTHON
	PIP PIPENV PIPX POETRY UV TWINE HATCH TOX PYTEST PY VIRTUAL CONDA MAMBA DJANGO FLASK CELERY GUNICORN UVICORN WERKZEUG JUPYTER RUBY GEM BUNDLE
	RAILS RACK RBENV RVM PERL PERL5 PHP COMPOSER XDEBUG LARAVEL SYMFONY LUA JAVA JDK JRE JVM MAVEN MVN MAVENW MVNW GRADLE ANT SBT KOTLIN SCALA SPRING
	QUARKUS MICRONAUT CATALINA TOMCAT JBOSS KAFKA HADOOP SPARK AIRFLOW DBT DOTNET NUGET MSBUILD COREHOST COMPLUS CORECLR ASPNETCORE VSTEST GO GOLANG CGO
	GOLANGCI KO RUST RUSTC RUSTUP RUSTDOC CARGO CC CXX CMAKE MAKE NINJA MESON BAZEL BAZELISK CCACHE SCCACHE PKG AC GCC CLANG LLVM ASAN UBSAN TSAN LSAN
	DOCKER COMPOSE BUILDKIT BUILDX BUILDAH PODMAN CONTAINER CONTAINERS CONTAINERD REGISTRY SKOPEO COSIGN SIGSTORE REKOR FULCIO TUF CRANE GGCR ORAS KUBE
	KUBECTL KUBERNETES KUBEBUILDER HELM HELMFILE KUSTOMIZE ARGOCD FLUX ISTIO SOPS AGE GPG GNUPG HTTP HTTPS ALL NO FTP SOCKS PROXY SSL TLS CURL WGET REQUESTS HTTPX
	OPENSSL OTEL DD NEW SENTRY GRPC XDG LC LANGUAGE TERM DBUS DISPLAY WAYLAND X QT GTK GIO SYSTEMD NOTIFY LISTEN PG PGSQL PSQL MYSQL MARIADB SQLITE ODBC
	ORACLE TNS NLS MONGO MONGODB REDIS REDISCLI SNOWFLAKE LESS MAN EDITOR VISUAL PAGER BROWSER TMP TEMP HOMEBREW APT DPKG DEB DEBIAN RPM SNAP NIX GUIX ASDF MISE DIRENV
	PRE SNYK TRIVY GRYPE SYFT SONAR CODECOV SEMGREP RENOVATE DANGER FASTLANE XCODE SWIFT CP CURLOPT R JULIA STACK CABAL GHC ERL ELIXIR MIX HEX REBAR OPAM
	WINDOWS PROCESSOR POWERSHELL PSMODULE`

// variables returns the values as environment variables. Errors are fault.Usage.
func variables(all []Secret) ([]child.Var, error) {
	var vars []child.Var
	from := map[string]string{}
	for _, s := range all {
		for _, v := range s.Values {
			if v.Variable == "" {
				continue
			}
			rename := func(name string) fault.Message {
				return s.wanted.suggest(shell.Literal(v.Field).Quote() + "=" + name)
			}
			switch other, there := from[v.Variable]; {
			case !isVariable(v.Variable):
				return nil, fault.New(fault.Usage, "the field %q of %s cannot be the name of an environment variable", v.Field, s.Path).
					Hint("name it: %s, beside the fields that you have there", rename("NAME"))
			case slices.Contains(own(), v.Variable):
				return nil, fault.New(fault.Usage, "the field %q of %s claims the name %s, which this command sets itself", v.Field, s.Path, v.Variable).
					Hint("give it another: %s", rename("OTHER_NAME"))
			case there:
				return nil, fault.New(fault.Usage, "two secrets claim the name %s: %s and %s", v.Variable, other, s.Path).
					Hint("give one of them another: %s", rename("OTHER_NAME"))
			}
			from[v.Variable] = s.Path
			value, err := v.delivered()
			if err != nil {
				return nil, err
			}
			vars = append(vars, child.Var{Name: v.Variable, Value: value})
		}
	}
	return vars, nil
}

// usableName makes a field's name the rest of a variable's: what that cannot hold is an
// underscore.
func usableName(field string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, field)
}
