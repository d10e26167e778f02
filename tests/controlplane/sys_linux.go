package main

import "syscall"

// ownGroup keeps a terminal's Ctrl-C away from a child: this program stops
// its children itself, in order. The parent-death signal covers the case that
// it is killed and cannot.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// ownNamespaces additionally gives the child network, mount and process
// namespaces of its own. Whatever the node does there (addresses, iptables
// rules, mounts, containers and their shims) ends with the child, in any way
// the child may end.
func ownNamespaces() *syscall.SysProcAttr {
	a := ownGroup()
	a.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID
	return a
}

func newSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true}
}

const canRunNode = true
