//go:build !linux

package main

func privateMounts(*config) error { panic("a node needs Linux") }
func snapshotter(*config) string  { return "native" }
func reap()                       {}
