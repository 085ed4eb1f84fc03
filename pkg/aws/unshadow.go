package aws

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
)

// maxProfiles bounds what is read of a file of profiles.
const maxProfiles = 16 << 20

// A Copy is what the SDKs are to read in place of one of AWS's two files.
type Copy struct {
	Name     string // of the file: credentials, config
	Of       string // the file that it is of
	Variable string // that names the file to the SDKs
	Content  []byte
}

// Unshadowed returns the two files as they would be if the default profile had no
// way to credentials, where they differ from those that there are: the SDKs ask
// that profile before they ask an endpoint, without being told to. Its other
// settings and the other profiles stay. A file that botocore would refuse is a
// fault.Local that names the line.
func (f Files) Unshadowed() ([]Copy, error) {
	all := append(append([]string{}, keyKeys...), otherKeys...)
	var copies []Copy
	for _, c := range []struct {
		Copy
		headers []string
	}{
		{Copy{Name: "credentials", Of: f.Credentials, Variable: "AWS_SHARED_CREDENTIALS_FILE"}, []string{"default"}},
		{Copy{Name: "config", Of: f.Config, Variable: "AWS_CONFIG_FILE"}, configHeaders("default")},
	} {
		old, err := readRegular(c.Of)
		if err != nil {
			return nil, err
		}
		text, err := ini.Change{Headers: c.headers, Remove: all}.Edit(bytes.Clone(old))
		if err == nil { // Python gives this section's keys to the default profile, too
			text, err = ini.Change{Headers: []string{inheritedSection}, Remove: all}.Edit(text)
		}
		if err != nil {
			e := fault.New(fault.KindOf(err), "cannot tell what credentials %q holds for the default profile, which would win: %w", c.Of, err)
			for _, h := range fault.Hints(err) {
				e.Hint("%s", h)
			}
			return nil, e.Hint("or name another file, or none: %s=%s", c.Variable, os.DevNull)
		}
		if c.Content = text; !bytes.Equal(text, old) {
			copies = append(copies, c.Copy)
		}
	}
	return copies, nil
}

// readRegular reads a file, but nothing that is none: what comes out of a pipe
// would not come out of it again for the SDKs.
func readRegular(path string) ([]byte, error) {
	b, err := files.Read(path, maxProfiles)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, files.ErrSpecial) {
		return nil, nil
	}
	return b, err
}

// BotoKeys returns the file of old boto's in which botocore finds keys before it
// asks an endpoint, or "". The SDKs of other languages do not know it.
func BotoKeys(getenv func(string) string) string {
	files := []string{"/etc/boto.cfg"}
	if home := getenv("HOME"); home != "" {
		files = append(files, filepath.Join(home, ".boto"))
	}
	if named := getenv("BOTO_CONFIG"); named != "" {
		files = []string{named}
	}
	for _, file := range files {
		text, err := readRegular(file)
		if err != nil {
			continue
		}
		sections, _ := ini.ReadINI(text) // what it refuses, botocore does too
		for _, s := range sections {
			for _, set := range s.Settings {
				if s.Name == "Credentials" && set.Key == "aws_access_key_id" {
					return file
				}
			}
		}
	}
	return ""
}
