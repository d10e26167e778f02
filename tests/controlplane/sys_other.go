//go:build !linux

package main

import "syscall"

func ownGroup() *syscall.SysProcAttr      { return &syscall.SysProcAttr{Setpgid: true} }
func ownNamespaces() *syscall.SysProcAttr { panic("a node needs Linux") }
func newSession() *syscall.SysProcAttr    { return &syscall.SysProcAttr{Setsid: true} }

const canRunNode = false
