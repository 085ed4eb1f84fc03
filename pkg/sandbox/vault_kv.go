package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxVersions is how many versions of a secret the server keeps.
const maxVersions = 10

// A versionedSecret is a secret of the KV engine's second version.
type versionedSecret struct {
	versions map[int]*secretVersion
	current  int
	created  time.Time
	updated  time.Time
}

type secretVersion struct {
	data      []byte // JSON; nil once it was destroyed
	created   time.Time
	deleted   time.Time
	destroyed bool
}

// seed fills a namespace with what there is to read.
func (v *vault) seed(s *vaultSpace) {
	for _, mount := range []string{"auth/token/", jwtMount, nestedJWTMount, emptyJWTMount, "sys/", "cubbyhole/", "secret/", "kv1/", "dyn/"} {
		s.mounts[mount] = strings.Trim(strings.ReplaceAll(mount, "/", "_"), "_") + "_" + base62(8)
	}
	password, dotted, plain := "pw-"+base62(24), "pw-"+base62(24), "pw-"+base62(24)
	key := "-----BEGIN SANDBOX KEY-----\n" + base62(64) + "\n" + base62(64) + "\n-----END SANDBOX KEY-----\n"
	old := "pw-" + base62(24)
	v.ledger.add(password, dotted, plain, old, key)
	v.ledger.add(strings.Split(key, "\n")[1:3]...)

	s.kv2 = map[string]*versionedSecret{}
	app := map[string]any{
		"username": "ci-app", "password": password, "private_key": key,
		"port": 5432, "big": json.Number("12345678901234567890"), "enabled": true, "empty": "", "nothing": nil,
		"db.password": dotted, "settings": map[string]any{"region": "eu", "replicas": 3},
	}
	v.store(s, "ci/app", map[string]any{"username": "ci-app", "password": old})
	v.store(s, "ci/app", app)
	v.store(s, "ci/gone", map[string]any{"password": old})
	s.kv2["ci/gone"].versions[1].deleted = v.now()
	v.store(s, "other/app", map[string]any{"password": old})
	s.kv1 = map[string]map[string]any{
		"ci/app":    {"username": "ci-app", "password": plain, "data": "a key of this name", "db.password": dotted, "port": json.Number("5432")},
		"other/app": {"password": old},
	}
}

// store adds a version.
func (v *vault) store(s *vaultSpace, path string, data map[string]any) int {
	secret := s.kv2[path]
	if secret == nil {
		secret = &versionedSecret{versions: map[int]*secretVersion{}, created: v.now()}
		s.kv2[path] = secret
	}
	text, err := json.Marshal(data)
	if err != nil {
		text = []byte("{}") // what came in as JSON goes out as JSON
	}
	secret.current++
	secret.updated = v.now()
	secret.versions[secret.current] = &secretVersion{data: text, created: v.now()}
	delete(secret.versions, secret.current-maxVersions)
	return secret.current
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (s *secretVersion) metadata(number int) map[string]any {
	return map[string]any{
		"created_time": timeText(s.created), "deletion_time": timeText(s.deleted), "destroyed": s.destroyed,
		"version": number, "custom_metadata": nil,
	}
}

// kv2Path returns what is behind data/ or the like.
func kv2Path(q *vaultRequest) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(q.path, "secret/"), "/")
	return rest
}

func (v *vault) readKV2(q *vaultRequest) (*vaultAnswer, error) {
	number := 0
	if text := q.text("version"); text != "" {
		n, err := strconv.ParseInt(text, 0, 0)
		if err != nil {
			return nil, q.invalidField("version", "cannot parse '' as int: "+err.Error())
		}
		number = int(n)
	}
	secret := q.space.kv2[kv2Path(q)]
	if secret == nil {
		return nil, nil
	}
	if number <= 0 {
		number = secret.current
	}
	version := secret.versions[number]
	if version == nil {
		return nil, nil
	}
	a := &vaultAnswer{data: map[string]any{"data": nil, "metadata": version.metadata(number)}, mount: "kv"}
	if !version.deleted.IsZero() && !v.now().Before(version.deleted) || version.destroyed {
		a.status = http.StatusNotFound
		return a, nil
	}
	// Without json.Number: this engine makes floats of numbers, and the big
	// ones lose digits.
	var data map[string]any
	if err := json.Unmarshal(version.data, &data); err != nil {
		return nil, err
	}
	a.data["data"] = data
	return a, nil
}

func (v *vault) writeKV2(q *vaultRequest) (*vaultAnswer, error) {
	for _, name := range []string{"data", "options"} {
		if err := q.checkMap(name); err != nil {
			return nil, err
		}
	}
	if _, there := q.data["data"]; !there {
		return nil, vaultInvalid("no data provided")
	}
	path := kv2Path(q)
	if err := checkAndSet(q, q.space.kv2[path]); err != nil {
		return nil, err
	}
	data, _ := q.data["data"].(map[string]any) // null is as good as empty
	if data == nil {
		data = map[string]any{}
	}
	number := v.store(q.space, path, data)
	return &vaultAnswer{data: q.space.kv2[path].versions[number].metadata(number), warnings: q.ignored("data", "options", "version"), mount: "kv"}, nil
}

// checkMap refuses a parameter that is there and no object.
func (q *vaultRequest) checkMap(name string) error {
	switch value := q.data[name].(type) {
	case nil, map[string]any:
		return nil
	case []any:
		return q.invalidField(name, "'' expected a map, got 'slice'")
	default:
		return q.invalidField(name, fmt.Sprintf("'' expected a map, got '%T'", value))
	}
}

// checkAndSet is the option cas: the version that is to be the current one.
func checkAndSet(q *vaultRequest, secret *versionedSecret) error {
	options, _ := q.data["options"].(map[string]any)
	raw, there := options["cas"]
	if !there {
		return nil
	}
	current := 0
	if secret != nil {
		current = secret.current
	}
	want, err := strconv.Atoi(fmt.Sprint(raw))
	switch {
	case err != nil:
		return vaultInvalid("error parsing check-and-set parameter")
	case want != current:
		return vaultInvalid("check-and-set parameter did not match the current version")
	}
	return nil
}

func (v *vault) deleteKV2(q *vaultRequest) (*vaultAnswer, error) {
	if secret := q.space.kv2[kv2Path(q)]; secret != nil {
		v.markDeleted(secret, secret.current)
	}
	return nil, nil
}

func (v *vault) markDeleted(secret *versionedSecret, number int) {
	if version := secret.versions[number]; version != nil && !version.destroyed && version.deleted.IsZero() {
		version.deleted = v.now()
	}
}

// onVersions runs what is done to some versions of a secret.
func (v *vault) onVersions(empty string, do func(*versionedSecret, int)) func(*vaultRequest) (*vaultAnswer, error) {
	return func(q *vaultRequest) (*vaultAnswer, error) {
		numbers, err := versionsOf(q)
		if err != nil {
			return nil, err
		}
		if len(numbers) == 0 {
			return nil, vaultInvalid(empty)
		}
		if secret := q.space.kv2[kv2Path(q)]; secret != nil {
			for _, n := range numbers {
				if secret.versions[n] != nil {
					do(secret, n)
				}
			}
		}
		return nil, nil
	}
}

// versionsOf reads a list of numbers, or one text in which commas separate
// them.
func versionsOf(q *vaultRequest) ([]int, error) {
	list, ok := q.data["versions"].([]any)
	if text := q.text("versions"); !ok && text != "" {
		for item := range strings.SplitSeq(text, ",") {
			list = append(list, item)
		}
	}
	var numbers []int
	for i, item := range list {
		n, err := strconv.ParseInt(fmt.Sprint(item), 0, 0)
		if err != nil {
			return nil, q.invalidField("versions", fmt.Sprintf("1 error(s) decoding:\n\n* cannot parse '[%d]' as int: %v", i, err))
		}
		numbers = append(numbers, int(n))
	}
	return numbers, nil
}

func undelete(secret *versionedSecret, n int) { secret.versions[n].deleted = time.Time{} }

func destroy(secret *versionedSecret, n int) {
	secret.versions[n].destroyed, secret.versions[n].data = true, nil
}

func (v *vault) readKV2Metadata(q *vaultRequest) (*vaultAnswer, error) {
	secret := q.space.kv2[kv2Path(q)]
	if secret == nil {
		return nil, nil
	}
	versions := map[string]any{}
	for number, version := range secret.versions {
		m := version.metadata(number)
		delete(m, "version")
		delete(m, "custom_metadata")
		versions[strconv.Itoa(number)] = m
	}
	oldest := 0 // as long as all are kept
	if secret.current > maxVersions {
		oldest = secret.current - maxVersions + 1
	}
	return &vaultAnswer{mount: "kv", data: map[string]any{
		"versions": versions, "current_version": secret.current, "oldest_version": oldest,
		"created_time": timeText(secret.created), "updated_time": timeText(secret.updated),
		"max_versions": 0, "cas_required": false, "delete_version_after": "0s", "custom_metadata": nil,
	}}, nil
}

func (v *vault) deleteKV2Metadata(q *vaultRequest) (*vaultAnswer, error) {
	delete(q.space.kv2, kv2Path(q))
	return nil, nil
}

func (v *vault) listKV2(q *vaultRequest) (*vaultAnswer, error) {
	return listed(slices.Collect(maps.Keys(q.space.kv2)), kv2Path(q))
}

// listed are the names right below a folder.
func listed(paths []string, folder string) (*vaultAnswer, error) {
	var keys []string
	for _, path := range paths {
		rest, below := strings.CutPrefix(path, folder)
		if name, _, deeper := strings.Cut(rest, "/"); below && deeper {
			keys = append(keys, name+"/")
		} else if below && rest != "" {
			keys = append(keys, rest)
		}
	}
	slices.Sort(keys)
	if keys = slices.Compact(keys); len(keys) == 0 {
		return nil, nil
	}
	return &vaultAnswer{data: map[string]any{"keys": keys}, mount: "kv"}, nil
}

// readKV2Config is what the engine is set to.
func (v *vault) readKV2Config(*vaultRequest) (*vaultAnswer, error) {
	return &vaultAnswer{data: map[string]any{"cas_required": false, "delete_version_after": "0s", "max_versions": 0}, mount: "kv"}, nil
}

// wrongKV2Path answers a path without data/ or the like.
func (v *vault) wrongKV2Path(q *vaultRequest) (*vaultAnswer, error) {
	command := map[vaultOperation]string{vaultRead: "get", vaultWrite: "put", vaultPatch: "patch", vaultList: "list", vaultDelete: "delete"}[q.operation]
	warning := "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. " +
		"If using the Vault CLI, use 'vault kv " + command + "' for this operation."
	switch strings.TrimPrefix(q.path, "secret/") {
	case "metadata", "data", "delete", "undelete", "destroy":
		warning = "Non-listing operations on the root of a K/V v2 mount are not supported."
	}
	return &vaultAnswer{status: http.StatusNotFound, warnings: []string{warning}, mount: "kv"}, nil
}

// The engine's first version keeps whatever it is given.

func (v *vault) readKV1(q *vaultRequest) (*vaultAnswer, error) {
	data := q.space.kv1[strings.TrimPrefix(q.path, "kv1/")]
	if data == nil {
		return nil, nil
	}
	lease := vaultMaxTTL // no lease, but when to read again
	for _, name := range []string{"lease", "ttl"} {
		if raw, there := data[name]; there {
			if d, err := vaultDuration(fmt.Sprint(raw)); err == nil {
				lease = d
			}
		}
	}
	return &vaultAnswer{data: data, leaseDuration: int(lease.Seconds()), mount: "kv"}, nil
}

func (v *vault) writeKV1(q *vaultRequest) (*vaultAnswer, error) {
	path := strings.TrimPrefix(q.path, "kv1/")
	switch {
	case path == "":
		return nil, vaultInvalid("missing path")
	case len(q.data) == 0:
		return nil, vaultInvalid("missing data fields")
	}
	q.space.kv1[path] = q.data
	return nil, nil
}

func (v *vault) deleteKV1(q *vaultRequest) (*vaultAnswer, error) {
	delete(q.space.kv1, strings.TrimPrefix(q.path, "kv1/"))
	return nil, nil
}

func (v *vault) listKV1(q *vaultRequest) (*vaultAnswer, error) {
	return listed(slices.Collect(maps.Keys(q.space.kv1)), strings.TrimPrefix(q.path, "kv1/"))
}
