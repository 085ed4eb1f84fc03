package main

import "golang.org/x/sys/unix"

// undumpable has the kernel write no core of this process, and keep its memory and
// its environment, which hold the job's token, from other processes of the same
// user: a command that exec runs has a parent to look at. Of root it keeps nothing.
// A child that is started gets its own state back.
func undumpable() {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // an old kernel goes without
}
