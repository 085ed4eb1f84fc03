package sandbox

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A secretVersion is a version of a secret of the KV engine's second version.
type secretVersion struct {
	data    []byte // JSON
	created time.Time
	deleted time.Time
}

// seed fills a namespace with what there is to read.
func (v *vault) seed(s *vaultSpace) {
	for _, e := range vaultEngines {
		s.mounts[e.path] = e.kind + "_" + base62(8)
	}
	password, dotted, plain := "pw-"+base62(24), "pw-"+base62(24), "pw-"+base62(24)
	key := "-----BEGIN SANDBOX KEY-----\n" + base62(64) + "\n" + base62(64) + "\n-----END SANDBOX KEY-----\n"
	old := "pw-" + base62(24)
	v.ledger.add(password, dotted, plain, old, key)
	v.ledger.add(strings.Split(key, "\n")[1:3]...)

	first := map[string]any{"username": "ci-app", "password": old}
	app := map[string]any{
		"username": "ci-app", "password": password, "private_key": key,
		"port": 5432, "big": json.Number("12345678901234567890"), "enabled": true, "empty": "", "nothing": nil,
		"db.password": dotted, "settings": map[string]any{"region": "eu", "replicas": 3},
	}
	s.kv2 = map[string][]secretVersion{"ci/app": v.versions(first, app), "ci/gone": v.versions(first)}
	s.kv2["ci/gone"][0].deleted = v.now()
	s.kv1 = map[string]map[string]any{
		"ci/app": {"username": "ci-app", "password": plain, "data": "a key of this name", "db.password": dotted, "port": json.Number("5432")},
	}
}

func (v *vault) versions(all ...map[string]any) []secretVersion {
	var made []secretVersion
	for _, data := range all {
		text, err := json.Marshal(data)
		if err != nil {
			panic(err) // of what seed writes there is none that JSON cannot hold
		}
		made = append(made, secretVersion{data: text, created: v.now()})
	}
	return made
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (v *vault) readKV2(q *vaultRequest) (*vaultAnswer, error) {
	path := strings.TrimPrefix(q.path, "secret/data/")
	if strings.HasSuffix(path, "/") {
		return &vaultAnswer{status: http.StatusNotFound, warnings: []string{"Invalid path for a versioned K/V secrets engine. See the API docs " +
			"for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation."}}, nil
	}
	number := 0
	if text := q.text("version"); text != "" {
		n, err := strconv.ParseInt(text, 0, 0)
		if err != nil {
			return nil, invalidField("version", "cannot parse '' as int: "+err.Error())
		}
		number = int(n)
	}
	all := q.space.kv2[path]
	if number <= 0 {
		number = len(all)
	}
	if number == 0 || number > len(all) {
		return nil, nil
	}
	version := all[number-1]
	a := &vaultAnswer{data: map[string]any{"data": nil, "metadata": map[string]any{
		"created_time": timeText(version.created), "deletion_time": timeText(version.deleted), "destroyed": false,
		"version": number, "custom_metadata": nil,
	}}}
	if !version.deleted.IsZero() {
		a.status = http.StatusNotFound
		return a, nil
	}
	// Without json.Number: this engine makes floats of numbers, and the big
	// ones lose digits.
	var data map[string]any
	if err := json.Unmarshal(version.data, &data); err != nil {
		return nil, err
	}
	a.data["data"], a.mount = data, "kv"
	return a, nil
}

// readKV1 reads from the engine's first version, which keeps what it is given.
func (v *vault) readKV1(q *vaultRequest) (*vaultAnswer, error) {
	data := q.space.kv1[strings.TrimPrefix(q.path, "kv1/")]
	if data == nil {
		return nil, nil
	}
	// This is no lease: it says when to read again.
	return &vaultAnswer{data: data, leaseDuration: int(vaultMaxTTL.Seconds()), mount: "kv"}, nil
}
