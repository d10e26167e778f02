package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strings"
)

// image is a container image of one layer, made from files of this host.
type image struct {
	name       string
	entrypoint []string
	files      map[string]string // path in the image -> file here
	links      map[string]string // path in the image -> target
}

func newImage(name string) *image {
	return &image{name: name, files: map[string]string{}, links: map[string]string{}}
}

func imageCommand(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	run := fs.String("run", "", "folder of the plane whose node gets the image")
	name := fs.String("name", "", "NAME:TAG of the image")
	busybox := fs.Bool("busybox", false, "add busybox with a shell and the usual tools")
	archive := fs.String("output", "", "write the archive to this file as well")
	var entrypoint []string
	fs.Func("entrypoint", "program to run; once per word", func(s string) error {
		entrypoint = append(entrypoint, s)
		return nil
	})
	if err := parse(fs, args, true); err != nil {
		return err
	}
	if err := errors.Join(required("run", *run), required("name", *name)); err != nil {
		return err
	}
	if fs.NArg() == 0 && !*busybox {
		return fmt.Errorf("%w: name at least one FILE, or --busybox", errUsage)
	}
	dir, err := filepath.Abs(*run)
	if err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	c, err := loadConfig(dir)
	if err != nil {
		return fmt.Errorf("no control plane runs in %s: %w", dir, err)
	}
	if !c.Node {
		return fmt.Errorf("the control plane in %s has no node to run images: %s", dir, c.NodeReason)
	}
	im := newImage(fullName(*name))
	im.entrypoint = entrypoint
	for _, arg := range fs.Args() {
		file, inside, found := strings.Cut(arg, ":")
		if !found {
			inside = "/" + filepath.Base(file)
		}
		if err := im.addFile(file, inside); err != nil {
			return err
		}
		if len(im.entrypoint) == 0 {
			im.entrypoint = []string{inside}
		}
	}
	if *busybox {
		if err := im.addFile(c.Busybox, "/bin/busybox"); err != nil {
			return err
		}
		applets, err := exec.Command(c.Busybox, "--list").Output()
		if err != nil {
			return fmt.Errorf("%s --list: %w", c.Busybox, err)
		}
		for _, applet := range strings.Fields(string(applets)) {
			im.links["/bin/"+applet] = "busybox"
		}
		if len(im.entrypoint) == 0 {
			im.entrypoint = []string{"/bin/sh"}
		}
	}
	out := *archive
	if out == "" {
		temp, err := os.CreateTemp(c.Data, "image-*.tar")
		if err != nil {
			return err
		}
		temp.Close()
		defer os.Remove(temp.Name())
		out = temp.Name()
	}
	if err := im.write(out); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err := importImage(c, out); err != nil {
		return err
	}
	say("imported %s (use imagePullPolicy: Never or IfNotPresent)", im.name)
	return nil
}

// fullName writes a name as the kubelet looks for it.
func fullName(name string) string {
	if !strings.Contains(name[strings.LastIndex(name, "/")+1:], ":") {
		name += ":latest"
	}
	first, _, slash := strings.Cut(name, "/")
	if slash && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return name
	}
	if !slash {
		name = "library/" + name
	}
	return "docker.io/" + name
}

// addFile adds one file and, for a dynamically linked program, the libraries
// and the loader it needs, at the paths where it looks for them.
func (im *image) addFile(file, inside string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", file)
	}
	im.files[path.Clean("/"+inside)] = file
	f, err := elf.Open(file)
	if err != nil {
		return nil // not a program: a script, a configuration
	}
	f.Close()
	if static, err := isStatic(file); err != nil || static {
		return err
	}
	out, err := exec.Command("ldd", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ldd %s: %v: %s", file, err, lastLines(string(out), 5))
	}
	if strings.Contains(string(out), "not found") {
		return fmt.Errorf("%s needs libraries that are not installed:\n%s", file, out)
	}
	for _, library := range regexp.MustCompile(`(?m)(/[^\s()]+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		im.files[library[1]] = library[1]
	}
	return nil
}

// write makes a docker-archive: manifest, configuration and the one layer.
func (im *image) write(archive string) error {
	layer, err := os.CreateTemp(filepath.Dir(archive), "layer-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(layer.Name())
	defer layer.Close()
	sum := sha256.New()
	if err := im.writeLayer(tar.NewWriter(io.MultiWriter(layer, sum))); err != nil {
		return fmt.Errorf("image %s: %w", im.name, err)
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	type object = map[string]any
	configuration, err := json.Marshal(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Entrypoint": im.entrypoint, "Env": []string{"PATH=/bin:/usr/bin:/usr/local/bin"}, "WorkingDir": "/"},
		"rootfs": object{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(configuration))
	manifest, err := json.Marshal([]object{{"Config": configName, "RepoTags": []string{im.name}, "Layers": []string{digest + ".tar"}}})
	if err != nil {
		return err
	}
	out, err := os.OpenFile(archive, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	t := tar.NewWriter(out)
	if err := errors.Join(addBytes(t, "manifest.json", manifest), addBytes(t, configName, configuration)); err != nil {
		return err
	}
	size, err := layer.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: digest + ".tar", Mode: 0o644, Size: size}); err != nil {
		return err
	}
	if _, err := io.Copy(t, layer); err != nil {
		return err
	}
	return errors.Join(t.Close(), out.Close())
}

func addBytes(t *tar.Writer, name string, data []byte) error {
	if err := t.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

func (im *image) writeLayer(t *tar.Writer) error {
	dirs := map[string]int64{"/tmp": 0o1777, "/etc": 0o755, "/home": 0o755, "/home/nonroot": 0o755}
	for name := range im.files {
		parents(dirs, name)
	}
	for name := range im.links {
		parents(dirs, name)
	}
	for _, dir := range sorted(dirs) {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: dirs[dir]}); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"/etc/passwd":        "root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n",
		"/etc/group":         "root:x:0:\nnonroot:x:65532:\n",
		"/etc/nsswitch.conf": "hosts: files dns\n",
	} {
		if _, own := im.files[name]; own {
			continue
		}
		if err := addBytes(t, name, []byte(text)); err != nil {
			return err
		}
	}
	for _, name := range sorted(im.files) {
		if err := copyInto(t, im.files[name], name); err != nil {
			return err
		}
	}
	for _, name := range sorted(im.links) {
		if _, own := im.files[name]; own {
			continue
		}
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name[1:], Linkname: im.links[name], Mode: 0o777}); err != nil {
			return err
		}
	}
	return t.Close()
}

func copyInto(t *tar.Writer, file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	if err := t.WriteHeader(&tar.Header{Name: name[1:], Mode: mode, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

func parents(dirs map[string]int64, name string) {
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if _, known := dirs[dir]; !known {
			dirs[dir] = 0o755
		}
	}
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
