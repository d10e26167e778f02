package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// innerVariable tells the inner process its run folder.
const innerVariable = "CONTROLPLANE_INNER"

// failedInside is the exit code for a failure that was already explained.
const failedInside = 3

// runInner is the process that runs the plane. With a node it is process 1 of
// its namespaces, so its end is the end of everything in them.
func runInner(ctx context.Context) error {
	c, err := loadConfig(os.Getenv(innerVariable))
	if err != nil {
		return fmt.Errorf("%s is started by the command up, not by hand: %w", innerCommand, err)
	}
	var outer, self int
	if _, err := fmt.Fscan(os.Stdin, &outer, &self); err != nil {
		return errors.New("the outer process gave up")
	}
	file := os.NewFile(3, "lease.sock")
	listener, err := net.FileListener(file)
	if err != nil {
		return err
	}
	file.Close()

	started := time.Now()
	p := newPlane(c)
	l := newLease(c, listener, p.control, outer)
	go l.serve()
	err = p.start(ctx)
	if err == nil {
		say("ready in %s: Kubernetes %s at %s", seconds(started), c.Version, c.server())
		say("  export KUBECONFIG=%s", c.kubeconfig())
		l.announce(p.info(outer, self))
		select {
		case <-ctx.Done():
		case <-l.expired:
			say("no client for %s; stopping", c.Linger)
		case err = <-p.broken:
		}
	}
	if ctx.Err() != nil {
		err = nil // asked to stop, whatever that interrupted
	}
	l.end(err)
	stopping := time.Now()
	p.stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
		os.Exit(failedInside)
	}
	say("stopped in %s", seconds(stopping))
	return nil
}

// enterNode prepares the namespaces for a node: its own /proc, its own /run,
// /var/lib and /var/log, and the network.
func enterNode(c *config) error {
	if err := privateMounts(c); err != nil {
		return fmt.Errorf("the node's mounts: %w", err)
	}
	if err := joinNode(c); err != nil {
		return fmt.Errorf("the node's network: %w", err)
	}
	go reap()
	return nil
}

// info is what clients get to know.
func (p *plane) info(outer, self int) info {
	c := p.c
	i := info{
		Kubeconfig: c.kubeconfig(), Server: c.server(), SecondServer: c.secondServer(),
		Kubectl: c.bin("kubectl"), BinDir: c.Bin, Version: c.Version,
		Node: c.Node, NodeReason: c.NodeReason,
		HostAddress: c.HostAddress, NodeAddress: c.NodeAddress, PodCIDR: c.PodCIDR, ServiceCIDR: c.ServiceCIDR,
		AuditLog: c.auditLog(), RunDir: c.Run, LogDir: c.Log,
		EtcdEndpoint:        c.etcd(),
		EtcdClientCertFiles: &certs{CA: c.pki("ca.crt"), Cert: c.pki("etcd-client.crt"), Key: c.pki("etcd-client.key")},
		CAFile:              c.pki("ca.crt"), CAKeyFile: c.pki("ca.key"),
		PID: outer,
	}
	for _, proc := range p.order {
		i.Processes = append(i.Processes, proc.name)
	}
	if c.Node {
		i.NodeName = nodeName
		i.Ctr = []string{lookTool("ctr"), "--address", c.containerdSocket(), "--namespace", "k8s.io"}
		i.Enter = []string{"nsenter", "--target", strconv.Itoa(self), "--net", "--mount", "--pid"}
	}
	return i
}
