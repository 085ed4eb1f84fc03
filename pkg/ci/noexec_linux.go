package ci

import "golang.org/x/sys/unix"

// noexec says whether programs below dir cannot be run.
func noexec(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Flags&unix.ST_NOEXEC != 0
}
