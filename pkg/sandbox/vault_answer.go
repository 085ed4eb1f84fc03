package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// A vaultAnswer is a result. Nil is none: 404 to who reads, else 204.
type vaultAnswer struct {
	status        int // 0: 200
	leaseID       string
	renewable     bool
	leaseDuration int
	data          map[string]any
	auth          *vaultAuth
	wrapInfo      *vaultWrapInfo
	warnings      []string
	mount         string // the kind of engine
	whole         json.RawMessage
}

type vaultAuth struct {
	ClientToken      string            `json:"client_token"`
	Accessor         string            `json:"accessor"`
	Policies         []string          `json:"policies"`
	TokenPolicies    []string          `json:"token_policies,omitempty"`
	Metadata         map[string]string `json:"metadata"`
	LeaseDuration    int               `json:"lease_duration"`
	Renewable        bool              `json:"renewable"`
	EntityID         string            `json:"entity_id"`
	TokenType        string            `json:"token_type"`
	Orphan           bool              `json:"orphan"`
	MFARequirement   json.RawMessage   `json:"mfa_requirement"`
	NumUses          int               `json:"num_uses"`
	IdentityPolicies []string          `json:"identity_policies,omitempty"`
}

type vaultWrapInfo struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int    `json:"ttl"`
	CreationTime    string `json:"creation_time"`
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

// vaultBody is the shape of every result.
type vaultBody struct {
	RequestID     string         `json:"request_id"`
	LeaseID       string         `json:"lease_id"`
	Renewable     bool           `json:"renewable"`
	LeaseDuration int            `json:"lease_duration"`
	Data          map[string]any `json:"data"`
	WrapInfo      *vaultWrapInfo `json:"wrap_info"`
	Warnings      []string       `json:"warnings"`
	Auth          *vaultAuth     `json:"auth"`
	MountType     string         `json:"mount_type"`
}

// body of a wrapped answer has no request id: what is inside has it.
func (a *vaultAnswer) body(id string) vaultBody {
	if a.wrapInfo != nil {
		id = ""
	}
	return vaultBody{
		RequestID: id, LeaseID: a.leaseID, Renewable: a.renewable, LeaseDuration: a.leaseDuration,
		Data: a.data, WrapInfo: a.wrapInfo, Warnings: a.warnings, Auth: a.auth, MountType: a.mount,
	}
}

// A vaultRefusal is an error as Vault answers it: a status and a list of texts,
// which may be empty. The texts are the server's own; where one is not known,
// the comment says so.
type vaultRefusal struct {
	status int
	texts  []string
	// why is for the sandbox's log alone.
	why string
}

func (r *vaultRefusal) Error() string { return fmt.Sprint(r.status) }

// because adds what the real Vault keeps to itself.
func (r *vaultRefusal) because(format string, args ...any) *vaultRefusal {
	r.why = fmt.Sprintf(format, args...)
	return r
}

func vaultInvalid(text string) *vaultRefusal {
	return &vaultRefusal{status: http.StatusBadRequest, texts: []string{text}}
}

func vaultNotFound(text string) *vaultRefusal {
	return &vaultRefusal{status: http.StatusNotFound, texts: []string{text}}
}

// vaultDenied says that whoever asks may not, whatever the policies are.
func vaultDenied() *vaultRefusal {
	return &vaultRefusal{status: http.StatusForbidden, texts: []string{"permission denied"}}
}

// vaultNoToken says that a request names no token, or one that does not exist
// (any more).
func vaultNoToken(named string) *vaultRefusal {
	if named == "" {
		return vaultDenied()
	}
	return &vaultRefusal{status: http.StatusForbidden, texts: []string{"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"}}
}

// vaultForbidden says that the token is good, but not for this.
func vaultForbidden() *vaultRefusal {
	return &vaultRefusal{status: http.StatusForbidden, texts: []string{vaultOneError("permission denied")}}
}

// vaultOneError is how the server prints a list of one error.
func vaultOneError(text string) string { return "1 error occurred:\n\t* " + text + "\n\n" }

// answerVault writes an answer, and returns the line for the log.
func answerVault(w http.ResponseWriter, q *vaultRequest, a *vaultAnswer, err error) string {
	switch {
	case err != nil:
		var no *vaultRefusal
		if !errors.As(err, &no) {
			no = &vaultRefusal{status: http.StatusInternalServerError, texts: []string{"internal error"}}
		}
		note := answerVaultJSON(w, q, no.status, struct {
			Errors []string `json:"errors"`
		}{append([]string{}, no.texts...)})
		if no.why != "" {
			note += " (" + no.why + ")"
		}
		return note
	case a == nil && (q.operation == vaultRead):
		return answerVaultJSON(w, q, http.StatusNotFound, struct {
			Errors []string `json:"errors"`
		}{[]string{}})
	case a == nil:
		w.WriteHeader(http.StatusNoContent)
		return fmt.Sprintf("%s: %d", q.route, http.StatusNoContent)
	}
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	if a.whole != nil {
		return answerVaultJSON(w, q, status, a.whole)
	}
	return answerVaultJSON(w, q, status, a.body(q.id))
}

func answerVaultJSON(w http.ResponseWriter, q *vaultRequest, status int, v any) string {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away is not served
	return fmt.Sprintf("%s: %d", q.route, status)
}
