package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// The module's own requirements are embedded, so a compiled controlplane
// builds the same programs wherever it is started from.

//go:embed go.mod
var goMod string

//go:embed go.sum
var goSum string

type program struct {
	name, pkg string
	node      bool // only needed for a real node
}

var programs = []program{
	{"etcd", "go.etcd.io/etcd/server/v3", false},
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", false},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", false},
	{"kubectl", "k8s.io/kubernetes/cmd/kubectl", false},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", true},
	{"kubelet", "k8s.io/kubernetes/cmd/kubelet", true},
	{"kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", true},
}

// assets are binaries that exist: where they are and of which version.
type assets struct {
	dir     string
	version string
}

// kubernetesVersion is the version that go.mod requires, such as v1.36.3.
func kubernetesVersion() string {
	m := regexp.MustCompile(`(?m)^(?:require )?\s*k8s\.io/kubernetes (v[0-9.]+)`).FindStringSubmatch(goMod)
	if m == nil {
		return "v0.0.0"
	}
	return m[1]
}

func buildFlags() []string {
	version := kubernetesVersion()
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	// Without these the server reports no version, and clients that compare
	// versions (helm's kubeVersion, kubectl's skew warning) go wrong.
	const x = "-X k8s.io/component-base/version."
	ld := fmt.Sprintf("-s -w %sgitVersion=%s %sgitMajor=%s %sgitMinor=%s", x, version, x, parts[0], x, parts[1])
	return []string{"-trimpath", "-buildvcs=false", "-ldflags", ld}
}

// buildDir is where the binaries of exactly these requirements belong.
func buildDir(cache string) string {
	h := sha256.New()
	for _, s := range append([]string{goMod, goSum, runtime.GOOS, runtime.GOARCH, "CGO_ENABLED=0"}, buildFlags()...) {
		fmt.Fprintf(h, "%d %s\n", len(s), s)
	}
	return filepath.Join(cache, hex.EncodeToString(h.Sum(nil))[:16])
}

func buildCommand(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("build", flag.ContinueOnError)
	cache := fs.String("cache", "", "folder that keeps the binaries")
	node := fs.Bool("node", false, "build the node's programs as well")
	if err := parse(fs, args, false); err != nil {
		return err
	}
	if err := required("cache", *cache); err != nil {
		return err
	}
	a, err := build(ctx, *cache, *node)
	if err != nil {
		return err
	}
	say("binaries: %s", a.dir)
	return nil
}

// providedAssets answers KUBEBUILDER_ASSETS, the variable that names existing
// binaries for every controller test suite.
func providedAssets(node bool) (*assets, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		return nil, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if missing := missingPrograms(dir, node); len(missing) > 0 {
		if node {
			return nil, fmt.Errorf("KUBEBUILDER_ASSETS=%s lacks %s, which a node needs", dir, strings.Join(missing, ", "))
		}
		// The controller-manager is not part of the usual asset bundles.
		if len(missing) > 1 || missing[0] != "kube-controller-manager" {
			return nil, fmt.Errorf("KUBEBUILDER_ASSETS=%s lacks %s; put them there, or unset the variable to have everything built",
				dir, strings.Join(missing, ", "))
		}
	}
	version := "unknown"
	if out, err := exec.Command(filepath.Join(dir, "kube-apiserver"), "--version").Output(); err == nil {
		version = strings.TrimPrefix(strings.TrimSpace(string(out)), "Kubernetes ")
	}
	return &assets{dir: dir, version: version}, nil
}

func missingPrograms(dir string, node bool) []string {
	var missing []string
	for _, p := range programs {
		if info, err := os.Stat(filepath.Join(dir, p.name)); (err != nil || info.Mode()&0o111 == 0) && (node || !p.node) {
			missing = append(missing, p.name)
		}
	}
	return missing
}

// build makes what is missing in the cache and returns where everything is.
func build(ctx context.Context, cache string, node bool) (*assets, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	dir := buildDir(cache)
	bin := filepath.Join(dir, "bin")
	done := &assets{dir: bin, version: kubernetesVersion()}
	if len(missingPrograms(bin, node)) == 0 {
		return done, nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, errors.New("the control plane is built from source and Go is not installed: " +
			"install Go 1.26 or newer (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl")
	}
	for _, d := range []string{bin, filepath.Join(dir, "src")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, "lock"), func() {
		say("another process builds into %s; waiting for it", dir)
	})
	if err != nil {
		return nil, err
	}
	defer unlock()
	// A copy of the requirements: the go command may want to rewrite them, and
	// must not do that to files under version control.
	for name, text := range map[string]string{"go.mod": goMod, "go.sum": goSum} {
		if err := os.WriteFile(filepath.Join(dir, "src", name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	todo := missingPrograms(bin, node)
	if len(todo) == 0 {
		return done, nil
	}
	say("building Kubernetes %s from source: %d programs, once (5 to 8 minutes on two cores from nothing)", kubernetesVersion(), len(todo))
	start, i := time.Now(), 0
	for _, p := range programs {
		if (p.node && !node) || len(missingIn(bin, p.name)) == 0 {
			continue
		}
		i++
		if err := buildOne(ctx, dir, p, fmt.Sprintf("[%d/%d]", i, len(todo))); err != nil {
			return nil, err
		}
	}
	say("built %d programs in %s", len(todo), seconds(start))
	return done, nil
}

func missingIn(bin, name string) []string {
	if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
		return []string{name}
	}
	return nil
}

// buildOne compiles to a temporary name and renames: a name that exists is
// always a whole binary.
func buildOne(ctx context.Context, dir string, p program, count string) error {
	final := filepath.Join(dir, "bin", p.name)
	temp := final + ".partial"
	args := append([]string{"build"}, buildFlags()...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", temp, p.pkg)...)
	cmd.Dir = filepath.Join(dir, "src")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GO111MODULE=on", "GOOS=", "GOARCH=")
	// go starts compilers of its own: interrupting means the whole group, and
	// the temporary folder, which go leaves behind then.
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	cmd.Env = append(cmd.Env, "GOTMPDIR="+tmp)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	start := time.Now()
	say("%s %s ...", count, p.name)
	if err := cmd.Start(); err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() { result <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-result:
			if ctx.Err() != nil {
				os.Remove(temp)
				return errors.New("interrupted while building " + p.name)
			}
			if err != nil {
				os.Remove(temp)
				return fmt.Errorf("go build %s failed (%v):\n%s", p.pkg, err, lastLines(output.String(), 30))
			}
			say("%s %s ... %s", count, p.name, seconds(start))
			return os.Rename(temp, final)
		case <-tick.C:
			say("%s %s ... still building, %s", count, p.name, seconds(start))
		}
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
