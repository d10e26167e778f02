package main

import (
	"context"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// need is one program that a node uses and the Debian package that has it.
type need struct {
	program, pkg string
}

var nodeNeeds = []need{
	{"containerd", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"iptables-save", "iptables"},
	{"conntrack", "conntrack"},
	{"ip", "iproute2"},
	{"mount", "mount"},
}

var cniPlugins = []string{"ptp", "host-local", "loopback", "portmap"}

const policyFile = "/usr/sbin/policy-rc.d"

func prerequisitesCommand(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("prerequisites", flag.ContinueOnError)
	install := fs.Bool("install", false, "install what is missing (root, apt-get)")
	if err := parse(fs, args, false); err != nil {
		return err
	}
	if err := nodePossible(); err != nil {
		return err
	}
	missing := missingPackages()
	if len(missing) == 0 {
		say("everything that a node needs is installed")
		return nil
	}
	if !*install {
		return errors.New(installAdvice(missing))
	}
	return installPackages(ctx, missing)
}

// nodePossible says what stands against a real node here, if anything does.
func nodePossible() error {
	if !canRunNode {
		return fmt.Errorf("a node needs Linux, and this is %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("a node needs root (containers, network namespace); run as root to get one")
	}
	// Root inside an ordinary container may do neither of these two.
	cmd := exec.Command("true")
	cmd.SysProcAttr = ownNamespaces()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("a node needs network, mount and process namespaces of its own, which are refused here (%v); "+
			"in a container, run it privileged", err)
	}
	return cgroupsWritable()
}

// cgroupsWritable tries to make a control group, as every pod will.
func cgroupsWritable() error {
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "memory")); err == nil {
		root = filepath.Join(root, "memory") // version 1: one hierarchy per controller
	}
	probe := filepath.Join(root, fmt.Sprintf("cp-probe-%d", os.Getpid()))
	if err := os.Mkdir(probe, 0o755); err != nil {
		return fmt.Errorf("a node needs writable control groups (%v); in a container, run it privileged", err)
	}
	return os.Remove(probe)
}

// ensureNode makes a node possible or says why there is none.
func ensureNode(ctx context.Context) error {
	if err := nodePossible(); err != nil {
		return err
	}
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	return installPackages(ctx, missing)
}

func installAdvice(missing []string) string {
	return "a node needs these Debian packages: " + strings.Join(missing, " ") +
		"; install them with: apt-get install " + strings.Join(missing, " ")
}

func missingPackages() []string {
	var missing []string
	add := func(pkg string) {
		for _, m := range missing {
			if m == pkg {
				return
			}
		}
		missing = append(missing, pkg)
	}
	for _, n := range nodeNeeds {
		if lookTool(n.program) == "" {
			add(n.pkg)
		}
	}
	if cniDir() == "" {
		add("containernetworking-plugins")
	}
	if busyboxPath() == "" {
		add("busybox-static")
	}
	return missing
}

// lookTool also finds programs in the sbin folders, which are not in PATH
// everywhere.
func lookTool(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func cniDir() string {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		found := 0
		for _, plugin := range cniPlugins {
			if _, err := os.Stat(filepath.Join(dir, plugin)); err == nil {
				found++
			}
		}
		if found == len(cniPlugins) {
			return dir
		}
	}
	return ""
}

// busyboxPath finds a busybox of either kind: images get the libraries of a
// dynamically linked one. The two packages exclude each other, so the static
// one is only installed where there is none.
func busyboxPath() string { return lookTool("busybox") }

func isStatic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false, nil
		}
	}
	return true, nil
}

func installPackages(ctx context.Context, missing []string) error {
	if os.Geteuid() != 0 {
		return errors.New(installAdvice(missing) + " (as root)")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New(installAdvice(missing) + " (or what these are called here; there is no apt-get)")
	}
	restore, err := denyServices()
	if err != nil {
		return err
	}
	defer restore()
	start := time.Now()
	say("installing Debian packages for the node: %s", strings.Join(missing, " "))
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s failed (%v):\n%s\n%s", args[0], err, lastLines(string(out), 15), installAdvice(missing))
		}
	}
	if still := missingPackages(); len(still) > 0 {
		return errors.New("still missing after apt-get install: " + strings.Join(still, " "))
	}
	say("installed in %s", seconds(start))
	return nil
}

// denyServices keeps the packages from starting services: the node runs a
// containerd of its own, and the host should not get one by the way. Debian
// asks policy-rc.d; 101 means "no". A policy that says no already is left
// alone, any other is put back afterwards.
func denyServices() (func(), error) {
	saved := policyFile + ".controlplane-saved"
	if _, err := os.Stat(saved); err == nil { // a former run was killed in between
		if err := os.Rename(saved, policyFile); err != nil {
			return nil, err
		}
	}
	existed := false
	if _, err := os.Stat(policyFile); err == nil {
		existed = true
		var exit *exec.ExitError
		if errors.As(exec.Command(policyFile, "containerd", "start").Run(), &exit) && exit.ExitCode() == 101 {
			return func() {}, nil
		}
		if err := os.Rename(policyFile, saved); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(policyFile, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return nil, err
	}
	return func() {
		if existed {
			os.Rename(saved, policyFile)
		} else {
			os.Remove(policyFile)
		}
	}, nil
}
