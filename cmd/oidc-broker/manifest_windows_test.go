package main

import "io/fs"

func owner(fs.FileInfo) string { return "-" }
