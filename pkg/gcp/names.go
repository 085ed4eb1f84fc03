package gcp

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// Patterns are compiled where they are used, at most a few times a run. Those that
// every exchange needs do not count: {4,32} is compiled to 32 copies, which takes
// longer than the rest of the command's own work.
const (
	projectNumber = `^[1-9][0-9]+$` // 6 to 19 digits
	projectID     = `^[a-z][a-z0-9.:-]{0,99}$`
	mangledNumber = `^[0-9]+(?:\.[0-9]*)?(?:[eE]\+?[0-9]+)?$`
	poolOrID      = `^[a-z0-9-]+$` // 4 to 32 characters
	hostName      = `^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+$`
	uniqueID      = `^[0-9]+$` // 21 digits
	accountName   = `^[a-z0-9][a-z0-9._-]*$`
	accountDomain = `^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+gserviceaccount\.com$`
)

const (
	providerForm = "it is like projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"
	accountForm  = "it is like deploy@my-project.iam.gserviceaccount.com"
)

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

// Provider is a workload identity pool provider's resource name, taken apart.
type Provider struct{ ProjectNumber, Pool, ID string }

// String returns the resource name.
func (p Provider) String() string {
	return "projects/" + p.ProjectNumber + "/locations/global/workloadIdentityPools/" + p.Pool + "/providers/" + p.ID
}

// Audience returns the name as Google's Security Token Service knows it.
func (p Provider) Audience() string { return "//iam.googleapis.com/" + p.String() }

// ParseProvider reads a provider's resource name, with or without one of the
// prefixes that Google shows it with, and says what is wrong with one that is
// none. Every error is a fault.Usage.
func ParseProvider(name string) (Provider, error) {
	rest := trimPrefix(name)
	if err := checkPrefix(name, rest); err != nil {
		return Provider{}, err
	}
	part := strings.Split(rest, "/")
	if err := checkShape(name, part); err != nil {
		return Provider{}, err
	}
	p := Provider{ProjectNumber: part[1], Pool: part[5], ID: part[7]}
	if err := checkNumber(p.ProjectNumber); err != nil {
		return Provider{}, err
	}
	if err := checkID("pool", p.Pool); err != nil {
		return Provider{}, err
	}
	if err := checkID("provider", p.ID); err != nil {
		return Provider{}, err
	}
	return p, nil
}

// trimPrefix takes one prefix off. Other universes have the same ones.
func trimPrefix(name string) string {
	for _, prefix := range []string{"//iam.googleapis.com/", "https://iam.googleapis.com/"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest
		}
	}
	if strings.HasPrefix(name, "//") {
		return name
	}
	return strings.TrimPrefix(name, "/")
}

func notProvider(name string) *fault.Error {
	return fault.New(fault.Usage, "%s is not the name of a workload identity provider", show(name))
}

// checkPrefix finds what stands in front of the name, or does not belong into
// any name.
func checkPrefix(name, rest string) error {
	e := notProvider(name)
	switch {
	case strings.TrimSpace(name) == "":
		return fault.New(fault.Usage, "the name of the workload identity provider is empty").Hint(providerForm)
	case strings.ContainsAny(name, " \t\r\n"):
		return e.Hint("there is white space in it")
	case strings.ContainsAny(name, "${}<>"):
		return e.Hint("a variable in it was not expanded")
	case rest != name && (trimPrefix(rest) != rest || strings.HasPrefix(rest, "/")):
		return e.Hint("its prefix is there twice: give it once, or leave it out")
	case strings.HasPrefix(name, "principal"):
		return e.Hint("it is the name of a principal, which roles are granted to").Hint(providerForm)
	case strings.HasPrefix(rest, "v1/"):
		return e.Hint("it is the URL of an API call: the name begins at projects/")
	case strings.Contains(rest, "//") && strings.HasPrefix(rest, "projects/"):
		return e.Hint("a part of it is empty: a variable in it may be unset")
	case strings.Contains(rest, "//"), strings.HasPrefix(rest, "iam.googleapis.com/"):
		return e.Hint("the prefixes that it may have are //iam.googleapis.com/ and https://iam.googleapis.com/, in every universe")
	}
	return nil
}

// checkShape finds the parts that are not where they belong.
func checkShape(name string, part []string) error {
	e := notProvider(name)
	for i, word := range []string{0: "projects", 2: "locations", 4: "workloadIdentityPools", 6: "providers"} {
		switch {
		case i < len(part) && part[i] == "workforcePools", i+2 < len(part) && part[i+2] == "workforcePools":
			return e.Hint("it is in a workforce pool, which is for people: a job's token goes to a workload identity pool").Hint(providerForm)
		case word != "" && i < len(part) && part[i] != word && part[i] != "":
			return e.Hint("%q stands where %q belongs", clipWord(part[i]), word).Hint(providerForm)
		}
	}
	switch n := len(part); {
	case n > 3 && part[3] != "global" && part[3] != "":
		return e.Hint("workload identity pools are in locations/global alone")
	case n == 8 && part[7] == "":
		return e.Hint("the provider's id is missing at the end")
	case n == 6, n == 7:
		return e.Hint("it is the name of a pool: add /providers/PROVIDER")
	case n < 6:
		return e.Hint("it is not complete").Hint(providerForm)
	case n > 8:
		return e.Hint("it goes on after the provider's id").Hint(providerForm)
	}
	return nil
}

func checkNumber(number string) error {
	e := fault.New(fault.Usage, "%s is not the project number of a workload identity provider", show(number))
	switch {
	case len(number) >= 6 && len(number) <= 19 && matches(projectNumber, number):
		return nil
	case strings.ContainsAny(number, ".eE") && matches(mangledNumber, number):
		return e.Hint("YAML turned the project number into a floating-point number: put it in quotes")
	case matches(projectID, number):
		return e.Hint("it is a project's id, and Google's Security Token Service takes the number alone").
			Hint("gcloud projects describe %s --format='value(projectNumber)' prints it", number)
	}
	return e.Hint("a project number is like 123456789012")
}

func checkID(what, id string) error {
	e := fault.New(fault.Usage, "%s is not the id of a workload identity %s", show(id), what)
	switch {
	case strings.HasPrefix(id, "gcp-"):
		return e.Hint("ids that begin with gcp- are reserved by Google")
	case len(id) < 4 || len(id) > 32:
		return e.Hint("an id has 4 to 32 characters, this one has %d", len(id))
	case matches(poolOrID, id):
		return nil
	}
	return e.Hint("an id has a-z 0-9 and - in it, nothing else")
}

// ServiceAccount refuses what is neither the address of a service account nor
// its unique id, and says what it is instead. Every error is a fault.Usage.
func ServiceAccount(email string) error {
	if len(email) == 21 && matches(uniqueID, email) {
		return nil
	}
	e := fault.New(fault.Usage, "%s is not the address of a service account", show(email))
	name, domain, isAddress := strings.Cut(email, "@")
	switch {
	case strings.TrimSpace(email) == "":
		return fault.New(fault.Usage, "the service account is empty").
			Hint("a variable may be unset; for access without a service account, leave the option out")
	case strings.ContainsAny(email, " \t\r\n"):
		return e.Hint("there is white space in it")
	case strings.ContainsAny(email, "${}<>"):
		return e.Hint("a variable in it was not expanded")
	case strings.HasPrefix(email, "serviceAccount:"):
		return e.Hint("it is the form that roles are granted to: leave serviceAccount: out")
	case strings.Contains(email, "/"):
		return e.Hint("it is a path: give the address alone").Hint(accountForm)
	case !isAddress, name == "", strings.Contains(domain, "@"):
		return e.Hint(accountForm)
	case strings.ToLower(email) != email:
		return e.Hint("it is all in lower case")
	}
	return checkAccount(e, name, domain)
}

// checkAccount looks at the two sides of the address.
func checkAccount(e *fault.Error, name, domain string) error {
	project, ofProject := strings.CutSuffix(domain, ".iam.gserviceaccount.com")
	scope, id, scoped := strings.Cut(project, ":")
	switch {
	case ofProject && scoped:
		return e.Hint("the id of a project in a domain is written the other way round here: %s.%s.iam.gserviceaccount.com", clipWord(id), clipWord(scope))
	case ofProject && matches(`^[0-9]{1,30}$`, project):
		return e.Hint("%s is the project's number: the address has its id", project)
	case !matches(accountDomain, domain):
		return e.Hint("a service account's address ends in .gserviceaccount.com; people and groups cannot be impersonated").Hint(accountForm)
	case !matches(accountName, name):
		return e.Hint("its name has a-z 0-9 and - in it")
	}
	return nil
}

// show quotes a value for an error, unless a token or a key may have slipped
// into the wrong place.
func show(value string) string {
	if clipWord(value) != value {
		return "a value of " + strconv.Itoa(len(value)) + " characters"
	}
	return strconv.Quote(value)
}

// clipWord withholds what may be a token or a key.
func clipWord(value string) string {
	if len(value) > 256 || strings.Contains(value, "eyJ") || strings.Contains(value, "PRIVATE") {
		return "..."
	}
	return value
}
