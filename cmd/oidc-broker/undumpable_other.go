//go:build !linux

package main

// undumpable is Linux's to do.
func undumpable() {}
