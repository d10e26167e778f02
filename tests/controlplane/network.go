package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"strconv"
	"strings"
)

// The node lives in a network namespace that a veth pair joins to the host:
//
//	host  10.213.N.1 --- veth --- 10.213.N.2  node --- veths --- pods 10.214.N.0/24
//
// N is free on this host, so planes run side by side.

// pickSubnets chooses N and reserves it. The reservation is an abstract unix
// socket: it belongs to this network namespace, as the addresses do, and the
// kernel ends it with the process.
func pickSubnets(c *config) (reservation net.Listener, err error) {
	h := fnv.New32a()
	h.Write([]byte(c.Run))
	first := int(h.Sum32() % 200)
	for i := range 200 {
		n := 20 + (first+i)%200
		if taken(n) {
			continue
		}
		l, err := net.Listen("unix", fmt.Sprintf("@controlplane-subnet-%d", n))
		if err != nil {
			continue
		}
		c.HostAddress = fmt.Sprintf("10.213.%d.1", n)
		c.NodeAddress = fmt.Sprintf("10.213.%d.2", n)
		c.NodeSubnet = fmt.Sprintf("10.213.%d.0/24", n)
		c.PodCIDR = fmt.Sprintf("10.214.%d.0/24", n)
		c.ServiceCIDR = fmt.Sprintf("10.215.%d.0/24", n)
		c.ServiceIP = fmt.Sprintf("10.215.%d.1", n)
		c.DNSAddress = fmt.Sprintf("10.215.%d.10", n)
		c.Listen, c.Address = "0.0.0.0", c.NodeAddress
		c.EtcdPort, c.EtcdPeerPort, c.APIPort, c.SecondAPIPort = 2379, 2380, 6443, 6444
		return l, nil
	}
	return nil, errors.New("no free subnet 10.213.N.0/24 with 10.214.N.0/24 and 10.215.N.0/24 on this host")
}

// taken says whether an address or a route of this host overlaps one of the
// three networks of N. A default route does not count.
func taken(n int) bool {
	var used []net.IPNet
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ipnet, ok := a.(*net.IPNet); ok && ipnet.IP.To4() != nil {
			used = append(used, *ipnet)
		}
	}
	routes, _ := os.ReadFile("/proc/net/route")
	for _, line := range strings.Split(string(routes), "\n") {
		f := strings.Fields(line)
		if len(f) < 8 || f[7] == "00000000" || f[7] == "Mask" {
			continue
		}
		used = append(used, net.IPNet{IP: kernelAddress(f[1]), Mask: net.IPMask(kernelAddress(f[7]))})
	}
	for _, second := range []int{213, 214, 215} {
		ours := net.IPNet{IP: net.IPv4(10, byte(second), byte(n), 0).To4(), Mask: net.CIDRMask(24, 32)}
		for _, u := range used {
			if u.Contains(ours.IP) || ours.Contains(u.IP) {
				return true
			}
		}
	}
	return false
}

// kernelAddress reads /proc/net/route's form: the address's four bytes as
// they are in memory, printed as one number.
func kernelAddress(s string) net.IP {
	v, _ := strconv.ParseUint(s, 16, 32)
	ip := make(net.IP, 4)
	binary.NativeEndian.PutUint32(ip, uint32(v))
	return ip
}

// pickPorts finds free loopback ports for a plane without a node.
func pickPorts(c *config) error {
	c.HostAddress, c.NodeAddress = "127.0.0.1", "127.0.0.1"
	c.Listen, c.Address = "127.0.0.1", "127.0.0.1"
	c.ServiceCIDR, c.ServiceIP = "10.215.0.0/24", "10.215.0.1"
	// All are held until all are known, so that they differ.
	for _, port := range []*int{&c.EtcdPort, &c.EtcdPeerPort, &c.APIPort, &c.SecondAPIPort} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// joinHost makes the veth pair: one end here, one in the namespace of pid.
func joinHost(c *config, pid int) error {
	for _, args := range [][]string{
		{"link", "add", c.ID, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(pid)},
		{"addr", "add", c.HostAddress + "/24", "dev", c.ID},
		{"link", "set", c.ID, "up"},
		// Tests on the host reach pods and Services as well.
		{"route", "add", c.PodCIDR, "via", c.NodeAddress, "dev", c.ID},
		{"route", "add", c.ServiceCIDR, "via", c.NodeAddress, "dev", c.ID},
	} {
		if err := tool("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// leaveHost removes the host's end now; left alone it would go some time
// after the namespace.
func leaveHost(c *config) {
	if _, err := net.InterfaceByName(c.ID); err == nil {
		tool("ip", "link", "del", c.ID)
	}
}

// joinNode sets up the inside, in the node's namespace.
func joinNode(c *config) error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", c.NodeAddress + "/24", "dev", "eth0"},
		{"link", "set", "eth0", "up"},
		{"route", "add", "default", "via", c.HostAddress},
	} {
		if err := tool("ip", args...); err != nil {
			return err
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		// Pods appear to the host as the node.
		{"-t", "nat", "-A", "POSTROUTING", "-s", c.PodCIDR, "-o", "eth0", "-j", "MASQUERADE"},
		// A Service address that nothing answers is refused at once instead
		// of leaving the node and timing out. kube-proxy's rules come first.
		{"-A", "FORWARD", "-d", c.ServiceCIDR, "-j", "REJECT"},
	} {
		if err := tool("iptables", append([]string{"-w"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}
