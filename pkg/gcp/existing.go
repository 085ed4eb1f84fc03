package gcp

import (
	"path/filepath"
	"strconv"
)

// Existing says where Google's tools find credentials without ours: in the file, or with
// "" where they look by themselves. gcloud has an account of its own.
func (m Machine) Existing(file string) []string {
	readable := func(path string) bool {
		text, err := m.Read(m.expand(path))
		return err == nil && len(text) > 0
	}
	if file != "" {
		if readable(file) {
			return []string{"the file " + strconv.Quote(file)}
		}
		return nil
	}
	var found []string
	dir := gcloudDir(m.getenv)
	adc := filepath.Join(dir, "application_default_credentials.json")
	if path := m.getenv("GOOGLE_APPLICATION_CREDENTIALS"); path != "" {
		if !readable(path) {
			return nil // the libraries look no further
		}
		found = append(found, "GOOGLE_APPLICATION_CREDENTIALS "+strconv.Quote(path))
	} else if dir != "" && readable(adc) {
		found = append(found, "the application default credentials of gcloud")
	}
	if account := m.activeConfiguration().get("core/account"); account != "" {
		found = append(found, "for gcloud the account "+strconv.Quote(shorten(account)))
	}
	return found
}
