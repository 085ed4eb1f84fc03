package aws

import (
	"fmt"
	"strings"
)

// Existing says where the SDKs find credentials without ours: those of a profile, or
// with "" or default the first in their order. It is empty where they find none, but
// for the role of a machine, which only a call can tell.
func Existing(profile string, getenv func(string) string, files Files) []string {
	get := func(name string) string { return strings.TrimSpace(getenv(name)) }
	config, _ := files.ReadConfig()
	python := config.InPython()
	usable := func(name string) bool {
		_, there := config.Find(name)
		got, problem := python.Resolve(name, get)
		return there && got.Way != "" && problem == nil
	}
	if profile != "" && profile != "default" {
		if usable(profile) {
			return []string{fmt.Sprintf("the profile %q", profile)}
		}
		return nil
	}
	if get("AWS_ACCESS_KEY_ID") != "" && get("AWS_SECRET_ACCESS_KEY") != "" {
		return []string{"AWS_ACCESS_KEY_ID in the environment"}
	}
	for _, variable := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if name := get(variable); name != "" {
			if usable(name) {
				return []string{fmt.Sprintf("the profile %q, by %s", name, variable)}
			}
			return nil // the SDKs look no further
		}
	}
	switch {
	case get("AWS_WEB_IDENTITY_TOKEN_FILE") != "" && get("AWS_ROLE_ARN") != "":
		return []string{"AWS_WEB_IDENTITY_TOKEN_FILE in the environment"}
	case usable("default"):
		return []string{"the profile \"default\""}
	}
	for _, name := range []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		if get(name) != "" {
			return []string{name + " in the environment"}
		}
	}
	return nil
}
