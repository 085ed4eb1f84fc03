//go:build !linux

package oidc

// noexec is a question for Linux, where self-hosted runners mount it so.
func noexec(string) bool { return false }
