package sandbox

import (
	"net/http"
	"strings"
)

// openCRM is Google's Cloud Resource Manager, as far as client libraries ask it
// for the project's id.
func (g *google) openCRM(base string) (endpoint, map[string]string) {
	return g.serveCRM, map[string]string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": base + "/"}
}

type projectAnswer struct {
	ProjectNumber  string `json:"projectNumber"`
	ProjectID      string `json:"projectId"`
	LifecycleState string `json:"lifecycleState"`
	Name           string `json:"name"`
}

func (g *google) serveCRM(w http.ResponseWriter, r *http.Request) string {
	name, found := strings.CutPrefix(r.URL.Path, "/v1/projects/")
	if !found || name == "" || strings.ContainsAny(name, "/:") || r.Method != http.MethodGet {
		return answerGoogle(w, "request", nil, methodNotFound())
	}
	result, err := g.describe(r, name)
	return answerGoogle(w, "projects.get", result, err)
}

// describe shows the project to everybody with a token of the sandbox, where
// the real one asks for a role too.
func (g *google) describe(r *http.Request, name string) (any, error) {
	_, err := g.bearer(r, cloudPlatformScope, cloudPlatformROScope,
		googleScopes+"cloudplatformprojects", googleScopes+"cloudplatformprojects.readonly")
	if err != nil {
		return nil, err
	}
	if name != g.project && name != gcpProjectNumber {
		return nil, projectDenied().because("there is no such project")
	}
	return projectAnswer{
		ProjectNumber:  gcpProjectNumber,
		ProjectID:      g.project,
		LifecycleState: "ACTIVE",
		Name:           g.project,
	}, nil
}
