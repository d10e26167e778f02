package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clean removes whatever a plane of this run folder has left, except its
// logs. It runs after the inner process has ended, and before a new start for
// a predecessor that was killed. The namespaces have taken the processes,
// mounts, addresses and iptables rules with them by then; what remains are
// files and control groups.
func clean(c *config) {
	leaveHost(c)
	removeCgroups(c)
	for _, name := range []string{"pki", "conf", "kubeconfig", "config.json", "info.json", "lease.sock"} {
		os.RemoveAll(filepath.Join(c.Run, name))
	}
	removeData(c.Data)
	if c.Sockets != c.Run {
		os.RemoveAll(c.Sockets)
		return
	}
	for _, pattern := range []string{"containerd.sock*", "*.partial"} {
		matches, _ := filepath.Glob(filepath.Join(c.Run, pattern))
		for _, m := range matches {
			os.Remove(m)
		}
	}
}

// removeData tries for a moment: processes that the kernel is just ending may
// still write.
func removeData(dir string) {
	for range 50 {
		if os.RemoveAll(dir) == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	say("could not remove all of %s", dir)
}

// removeCgroups ends what runs in the containers' control groups and removes
// these, in every hierarchy (version 1 has one per controller). runc does it
// for a container that is stopped; ours just end with their namespace.
// containerd keeps a folder per container, so the run data knows the names.
// They are in /k8s.io, which other planes and a containerd of the host share.
func removeCgroups(c *config) {
	tasks, _ := filepath.Glob(filepath.Join(c.Data, "run/containerd/io.containerd.runtime.v2.task/k8s.io/*"))
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/k8s.io")
	roots = append(roots, "/sys/fs/cgroup/k8s.io")
	for _, root := range roots {
		if _, err := os.Stat(root); err != nil {
			continue
		}
		for _, task := range tasks {
			for range 100 {
				if removeCgroup(filepath.Join(root, filepath.Base(task))) {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		syscall.Rmdir(root) // fails, as it should, unless it is empty
	}
}

func removeCgroup(root string) bool {
	var dirs []string
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	ok := true
	for i := len(dirs) - 1; i >= 0; i-- { // children first
		procs, _ := os.ReadFile(filepath.Join(dirs[i], "cgroup.procs"))
		for _, line := range strings.Fields(string(procs)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		// rmdir alone: the files in a control group are not to be removed.
		if err := syscall.Rmdir(dirs[i]); err != nil && err != syscall.ENOENT {
			ok = false
		}
	}
	return ok
}
