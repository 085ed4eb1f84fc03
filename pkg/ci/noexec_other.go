//go:build !linux

package ci

// noexec is a question for Linux, where self-hosted runners mount it so.
func noexec(string) bool { return false }
