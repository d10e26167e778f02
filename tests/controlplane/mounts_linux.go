package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// covered are the folders whose usual content the node must neither see nor
// change: containerd, the kubelet and the network plugins have many paths in
// them that cannot be configured. In the node's mount namespace they are
// folders of the run data.
var covered = []string{"/run", "/var/lib", "/var/log"}

func privateMounts(c *config) error {
	// Nothing mounted from here on reaches the host ...
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		return err
	}
	// ... but within, mounts propagate, which volumes may ask for.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return err
	}
	// A /proc of this process namespace, and of this network's sysctls.
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	// What we need may itself be below one of the covered folders.
	var keep []*os.File
	for _, path := range []string{c.Run, c.Bin, c.Sockets} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		keep = append(keep, f)
	}
	for _, dir := range covered {
		source := filepath.Join(c.Data, strings.ReplaceAll(dir[1:], "/", "-"))
		if err := os.MkdirAll(source, 0o711); err != nil {
			return err
		}
		if err := syscall.Mount(source, dir, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s over %s: %w", source, dir, err)
		}
	}
	for _, f := range keep {
		for _, dir := range covered {
			if !strings.HasPrefix(f.Name(), dir+"/") {
				continue
			}
			if err := os.MkdirAll(f.Name(), 0o711); err != nil {
				return err
			}
			if err := syscall.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), f.Name(), "", syscall.MS_BIND, ""); err != nil {
				return fmt.Errorf("keeping %s: %w", f.Name(), err)
			}
		}
	}
	return os.Mkdir("/run/lock", 0o755)
}

// snapshotter is overlayfs wherever the run data can carry one. Where it is
// an overlay itself, as inside most containers, files are copied.
func snapshotter(c *config) string {
	dir, err := os.MkdirTemp(c.Data, "overlay")
	if err != nil {
		return "native"
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		os.Mkdir(filepath.Join(dir, name), 0o700)
	}
	merged := filepath.Join(dir, "merged")
	options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return "native"
	}
	syscall.Unmount(merged, 0)
	return "overlayfs"
}

// reap collects processes that ended after their parents, as process 1 must:
// every container's shim becomes a child of this process. Our own children
// are left to those who wait for them, so orphans are recognised by being
// finished for two rounds.
func reap() {
	seen := map[int]bool{}
	for ; ; time.Sleep(2 * time.Second) {
		now := map[int]bool{}
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, path := range stats {
			text, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			// After the command's name in parentheses: state, parent.
			_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
			f := strings.Fields(rest)
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			if len(f) < 2 || f[0] != "Z" || f[1] != "1" {
				continue
			}
			if seen[pid] {
				syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
			now[pid] = true
		}
		seen = now
	}
}
