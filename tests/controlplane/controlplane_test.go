package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestFullName(t *testing.T) {
	for short, full := range map[string]string{
		"consumer":            "docker.io/library/consumer:latest",
		"consumer:1":          "docker.io/library/consumer:1",
		"org/app:2":           "docker.io/org/app:2",
		"registry.test/app":   "registry.test/app:latest",
		"localhost:5000/a/b":  "localhost:5000/a/b:latest",
		"registry.test/a/b:3": "registry.test/a/b:3",
	} {
		if got := fullName(short); got != full {
			t.Errorf("%s: got %s, want %s", short, got, full)
		}
	}
}

func TestVersionAndPrograms(t *testing.T) {
	if v := kubernetesVersion(); v == "v0.0.0" {
		t.Error("go.mod names no version of k8s.io/kubernetes")
	}
	for _, p := range programs {
		if !bytes.Contains([]byte(goMod), []byte(p.pkg+"\n")) {
			t.Errorf("go.mod has no tool line for %s", p.pkg)
		}
	}
}

func TestKernelAddress(t *testing.T) {
	b := [4]byte{10, 213, 7, 0}
	const digits = "0123456789ABCDEF"
	v, text := binary.NativeEndian.Uint32(b[:]), ""
	for shift := 28; shift >= 0; shift -= 4 {
		text += string(digits[v>>shift&15])
	}
	if got := kernelAddress(text); !got.Equal(net.IPv4(10, 213, 7, 0)) {
		t.Errorf("got %v", got)
	}
}

func TestDNSRefusesWhatItDoesNotKnow(t *testing.T) {
	query := func(name ...string) []byte {
		q := []byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
		for _, label := range name {
			q = append(append(q, byte(len(label))), label...)
		}
		return append(q, 0, 0, typeA, 0, classIN)
	}
	p := &plane{}
	reply := p.answerDNS(query("example", "com"))
	if len(reply) < headerLength || reply[3]&15 != rcodeNoName || reply[2]&0x80 == 0 {
		t.Errorf("example.com: %v", reply)
	}
	for _, broken := range [][]byte{nil, {1, 2, 3}, query("example", "com")[:15], append([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 200, 1)} {
		p.answerDNS(broken) // must not panic
	}
	for _, name := range []string{"a.svc.cluster.local", "a.b.c.svc.cluster.local", "../x.y.svc.cluster.local", ""} {
		if _, err := p.serviceAddresses(name); !errors.Is(err, errNoName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestLockIsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryLock(path); !errors.Is(err, errLocked) {
		t.Errorf("second lock: %v", err)
	}
	first.Close()
	second, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

func TestImageArchive(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "run.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	im := newImage(fullName("x:1"))
	if err := im.addFile(script, "/opt/run.sh"); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "x.tar")
	if err := im.write(archive); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	reader, names := tar.NewReader(bytes.NewReader(text)), 0
	for {
		if _, err := reader.Next(); err != nil {
			break
		}
		names++
	}
	if names != 3 {
		t.Errorf("manifest, configuration and layer expected, got %d entries", names)
	}
	if _, err := os.Stat(filepath.Join(dir, "layer.tar")); err == nil {
		t.Error("the temporary layer is still there")
	}
}
