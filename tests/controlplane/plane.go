package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// plane is the set of running programs.
type plane struct {
	c      *config
	ca     *authority
	order  []*process // in the order of starting
	client *http.Client
	broken chan error // a program that cannot be kept running
}

func newPlane(c *config) *plane {
	return &plane{c: c, broken: make(chan error, 16)}
}

// add registers a program without starting it.
func (p *plane) add(name, path string, args ...string) *process {
	proc := &process{name: name, path: path, args: args, logPath: p.c.logFile(name)}
	proc.failed = func(proc *process, err error) {
		p.broken <- fmt.Errorf("%s does not keep running (%v); the end of its log %s:\n%s",
			proc.name, err, proc.logPath, tail(proc.logPath, 15))
	}
	// A log belongs to one life of the plane.
	os.Rename(proc.logPath, proc.logPath+".previous")
	p.order = append(p.order, proc)
	return proc
}

func (p *plane) start(ctx context.Context) error {
	c := p.c
	os.Rename(c.auditLog(), c.auditLog()+".previous")
	if err := os.MkdirAll(filepath.Join(c.Run, "conf"), 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o711); err != nil {
		return err
	}
	if c.Node {
		if err := enterNode(c); err != nil {
			return err
		}
	}
	if err := p.makeCertificates(); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if err := p.addEtcd().start(); err != nil {
		return err
	}
	if c.Node {
		if err := p.startContainerd(); err != nil {
			return err
		}
	}
	if err := p.startAPIServer(ctx); err != nil {
		return err
	}
	if missing := missingIn(c.Bin, "kube-controller-manager"); len(missing) > 0 {
		say("there is no kube-controller-manager in %s: no garbage collection, no ServiceAccounts, namespaces stay", c.Bin)
		return nil
	}
	if err := p.addControllerManager().start(); err != nil {
		return err
	}
	if c.Node {
		if err := p.startNode(ctx); err != nil {
			return err
		}
	}
	err := p.wait(ctx, "kube-controller-manager", "the default ServiceAccount", func() error {
		return p.get("/api/v1/namespaces/default/serviceaccounts/default", nil)
	})
	if err == nil && c.Node {
		err = p.waitNode(ctx)
	}
	return err
}

// stop ends the programs, last started first, each before the next. They get
// no time to say goodbye: their data is thrown away, and the clients that hold
// watches open would make the API server take its time.
func (p *plane) stop() {
	for i := len(p.order) - 1; i >= 0; i-- {
		p.order[i].stop(true)
	}
}

// control does what a client of the lease socket or the command line asks,
// for tests in which parts of the plane fail.
func (p *plane) control(do, name string) error {
	for _, proc := range p.order {
		if proc.name != name {
			continue
		}
		switch do {
		case "stop", "kill":
			proc.stop(do == "kill")
			return nil
		case "restart":
			proc.stop(false)
			return proc.start()
		case "start":
			return proc.start()
		case "freeze":
			return proc.signal(syscall.SIGSTOP)
		case "thaw":
			return proc.signal(syscall.SIGCONT)
		}
		return fmt.Errorf("cannot %q; known are start, stop, kill, restart, freeze, thaw", do)
	}
	return fmt.Errorf("there is no process %q", name)
}

func (p *plane) addEtcd() *process {
	c := p.c
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.EtcdPeerPort)
	return p.add("etcd", c.bin("etcd"),
		"--name=default", "--data-dir="+filepath.Join(c.Data, "etcd"),
		fmt.Sprintf("--listen-client-urls=https://%s:%d", c.Listen, c.EtcdPort),
		"--advertise-client-urls="+c.etcd(),
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer,
		"--cert-file="+c.pki("server.crt"), "--key-file="+c.pki("server.key"),
		"--client-cert-auth", "--trusted-ca-file="+c.pki("ca.crt"),
		// 100,000 users with their Secrets and what they were before need more than the usual 2 GiB.
		"--quota-backend-bytes=8589934592",
		// The data is thrown away at the end; a crash of the machine may take it.
		"--unsafe-no-fsync", "--log-level=warn")
}

func (p *plane) apiServerArgs(port int, audit string) []string {
	c := p.c
	args := []string{
		"--etcd-servers=" + c.etcd(), "--etcd-cafile=" + c.pki("ca.crt"),
		"--etcd-certfile=" + c.pki("etcd-client.crt"), "--etcd-keyfile=" + c.pki("etcd-client.key"),
		"--bind-address=" + c.Listen, "--advertise-address=" + c.Address, "--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + c.pki("server.crt"), "--tls-private-key-file=" + c.pki("server.key"),
		"--client-ca-file=" + c.pki("ca.crt"),
		"--service-account-key-file=" + c.pki("service-accounts.pub"),
		"--service-account-signing-key-file=" + c.pki("service-accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + c.ServiceCIDR,
		"--requestheader-client-ca-file=" + c.pki("ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.pki("front-proxy.crt"), "--proxy-client-key-file=" + c.pki("front-proxy.key"),
		"--allow-privileged=true", "--profiling=false",
		"--audit-policy-file=" + c.conf("audit-policy.json"), "--audit-log-path=" + audit,
		// In one file, whatever its size: tests read it from where they began.
		"--audit-log-maxsize=100000",
	}
	if c.Node {
		args = append(args, "--kubelet-preferred-address-types=InternalIP",
			"--kubelet-certificate-authority="+c.pki("ca.crt"),
			"--kubelet-client-certificate="+c.pki("kubelet-client.crt"), "--kubelet-client-key="+c.pki("kubelet-client.key"))
	}
	return args
}

const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
 "omitStages": ["RequestReceived"],
 "rules": [{"level": "Metadata"}]}
`

func (p *plane) startAPIServer(ctx context.Context) error {
	c := p.c
	if err := os.WriteFile(c.conf("audit-policy.json"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	if err := p.add("kube-apiserver", c.bin("kube-apiserver"), p.apiServerArgs(c.APIPort, c.auditLog())...).start(); err != nil {
		return err
	}
	// A second one over the same etcd runs only when a test starts it. It
	// leaves the endpoints of the Service "kubernetes" to the first.
	p.add("kube-apiserver-2", c.bin("kube-apiserver"),
		append(p.apiServerArgs(c.SecondAPIPort, filepath.Join(c.Log, "audit-2.log")), "--endpoint-reconciler-type=none")...)
	// Includes the bootstrap roles, without which the controller-manager ends.
	return p.wait(ctx, "kube-apiserver", "/readyz", func() error { return p.get("/readyz", nil) })
}

func (p *plane) addControllerManager() *process {
	c := p.c
	return p.add("kube-controller-manager", c.bin("kube-controller-manager"),
		"--kubeconfig="+c.conf("controller-manager.kubeconfig"), "--use-service-account-credentials", "--leader-elect=false",
		"--service-account-private-key-file="+c.pki("service-accounts.key"), "--root-ca-file="+c.pki("ca.crt"),
		"--cluster-signing-cert-file="+c.pki("ca.crt"), "--cluster-signing-key-file="+c.pki("ca.key"),
		"--secure-port=0", "--profiling=false",
		// Tests wait for namespaces to go and for nodes to become ready.
		"--kube-api-qps=200", "--kube-api-burst=400", "--node-monitor-period=1s")
}

// makeCertificates makes the authority and everything it signs.
func (p *plane) makeCertificates() (err error) {
	c := p.c
	if p.ca, err = newAuthority(filepath.Join(c.Run, "pki")); err != nil {
		return err
	}
	if err := p.ca.signingKey(); err != nil {
		return err
	}
	addresses := []string{"127.0.0.1", "::1", c.ServiceIP}
	if c.Address != "127.0.0.1" {
		addresses = append(addresses, c.Address)
	}
	admin := &identity{file: "admin", name: "admin", groups: []string{"system:masters"}}
	ids := []*identity{
		{file: "server", name: "kube-apiserver", addresses: addresses, names: []string{"localhost", "kubernetes",
			"kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		{file: "etcd-client", name: "etcd-client"},
		{file: "front-proxy", name: "front-proxy"},
		{file: "kubelet-client", name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		{file: "kubelet", name: "system:node:" + nodeName, groups: []string{"system:nodes"},
			names: []string{nodeName}, addresses: []string{c.NodeAddress}},
		{file: "controller-manager", name: "system:kube-controller-manager"},
		{file: "scheduler", name: "system:kube-scheduler"},
		{file: "proxy", name: "system:kube-proxy"},
		admin,
	}
	for _, id := range ids {
		if err := p.ca.issue(id); err != nil {
			return err
		}
		switch id.file {
		case "controller-manager", "scheduler", "proxy", "kubelet":
			if err := p.ca.kubeconfig(c.conf(id.file+".kubeconfig"), c.server(), id); err != nil {
				return err
			}
		}
	}
	pair, err := tls.X509KeyPair(admin.certPEM, admin.key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.ca.cert)
	p.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}}}
	return p.ca.kubeconfig(c.kubeconfig(), c.server(), admin)
}

// get asks the API server; anything but 200 is an error.
func (p *plane) get(path string, into any) error {
	response, err := p.client.Get(p.c.server() + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%s: %w", path, errNoName)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", path, response.Status, lastLines(strings.TrimSpace(string(body)), 5))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// wait probes until it succeeds, a program is given up, or a minute or two
// are over. name is the program whose log explains a failure.
func (p *plane) wait(ctx context.Context, name, what string, probe func() error) error {
	deadline := time.Now().Add(120 * time.Second)
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case broken := <-p.broken:
			return broken
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited 2 minutes for %s (%s), last: %w; the end of its log %s:\n%s",
				what, name, err, p.c.logFile(name), tail(p.c.logFile(name), 15))
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			return errors.New("interrupted")
		}
	}
}
