package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// A cluster's DNS in its smallest form: the names of Services, asked of the
// API server each time. It answers on the DNS address of the Service network,
// which is an address of the node's loopback interface. Any other name does
// not exist: pods have nothing beyond the host to talk to.

const clusterDomain = "cluster.local"

const (
	typeA   = 1
	classIN = 1

	rcodeOK       = 0
	rcodeFormat   = 1
	rcodeServer   = 2
	rcodeNoName   = 3
	headerLength  = 12
	answerSeconds = 2 // Services come and go during a test
)

func (p *plane) serveDNS() error {
	if err := tool("ip", "addr", "add", p.c.DNSAddress+"/32", "dev", "lo"); err != nil {
		return err
	}
	address := net.JoinHostPort(p.c.DNSAddress, "53")
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	streams, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			query := append([]byte(nil), buffer[:n]...)
			go func() {
				if reply := p.answerDNS(query); reply != nil {
					packets.WriteTo(reply, from)
				}
			}()
		}
	}()
	go func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			go p.streamDNS(conn)
		}
	}()
	return nil
}

// streamDNS answers over TCP, where every message has its length in front.
func (p *plane) streamDNS(conn net.Conn) {
	defer conn.Close()
	for {
		var length uint16
		if binary.Read(conn, binary.BigEndian, &length) != nil {
			return
		}
		query := make([]byte, length)
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := p.answerDNS(query)
		if reply == nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// answerDNS makes the reply to one query; nil if it is none.
func (p *plane) answerDNS(query []byte) []byte {
	if len(query) < headerLength || query[2]&0x80 != 0 {
		return nil
	}
	name, end, err := questionName(query)
	if err != nil || len(query) < end+4 || binary.BigEndian.Uint16(query[4:]) != 1 {
		return dnsReply(query, headerLength, rcodeFormat, nil)
	}
	kind := binary.BigEndian.Uint16(query[end:])
	addresses, err := p.serviceAddresses(name)
	switch {
	case errors.Is(err, errNoName):
		return dnsReply(query, end+4, rcodeNoName, nil)
	case err != nil:
		return dnsReply(query, end+4, rcodeServer, nil)
	case kind != typeA: // the name exists, without such a record
		return dnsReply(query, end+4, rcodeOK, nil)
	}
	return dnsReply(query, end+4, rcodeOK, addresses)
}

func questionName(query []byte) (name string, end int, err error) {
	var labels []string
	at := headerLength
	for at < len(query) {
		length := int(query[at])
		if length == 0 {
			return strings.ToLower(strings.Join(labels, ".")), at + 1, nil
		}
		if length > 63 || at+1+length > len(query) {
			break
		}
		labels = append(labels, string(query[at+1:at+1+length]))
		at += 1 + length
	}
	return "", 0, errors.New("no name")
}

// dnsReply repeats the question, which ends at end, and adds the answers.
func dnsReply(query []byte, end int, code byte, addresses []net.IP) []byte {
	reply := append([]byte(nil), query[:end]...)
	reply[2] = 0x84 | query[2]&0x01 // a reply, authoritative; recursion as asked
	reply[3] = 0x80 | code
	questions := uint16(1)
	if end == headerLength {
		questions = 0
	}
	binary.BigEndian.PutUint16(reply[4:], questions)
	binary.BigEndian.PutUint16(reply[6:], uint16(len(addresses)))
	binary.BigEndian.PutUint32(reply[8:], 0)
	for _, ip := range addresses {
		reply = append(reply, 0xc0, headerLength) // the question's name
		reply = binary.BigEndian.AppendUint16(reply, typeA)
		reply = binary.BigEndian.AppendUint16(reply, classIN)
		reply = binary.BigEndian.AppendUint32(reply, answerSeconds)
		reply = binary.BigEndian.AppendUint16(reply, uint16(len(ip)))
		reply = append(reply, ip...)
	}
	return reply
}

var errNoName = errors.New("not found")

// serviceAddresses resolves SERVICE.NAMESPACE.svc.cluster.local.
func (p *plane) serviceAddresses(name string) ([]net.IP, error) {
	f := strings.Split(strings.TrimSuffix(name, ".svc."+clusterDomain), ".")
	if len(f) != 2 || !strings.HasSuffix(name, ".svc."+clusterDomain) || !plainLabel(f[0]) || !plainLabel(f[1]) {
		return nil, errNoName
	}
	var service struct {
		Spec struct{ ClusterIP string }
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/services/%s", f[1], f[0])
	if err := p.get(path, &service); err != nil {
		return nil, err
	}
	if ip := net.ParseIP(service.Spec.ClusterIP).To4(); ip != nil {
		return []net.IP{ip}, nil
	}
	// Without an address of its own: those of its pods.
	var slices struct {
		Items []struct {
			Endpoints []struct {
				Addresses  []string
				Conditions struct{ Ready *bool }
			}
		}
	}
	path = fmt.Sprintf("/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices?labelSelector=kubernetes.io%%2Fservice-name%%3D%s", f[1], f[0])
	if err := p.get(path, &slices); err != nil {
		return nil, err
	}
	var found []net.IP
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
				continue
			}
			for _, address := range endpoint.Addresses {
				if ip := net.ParseIP(address).To4(); ip != nil {
					found = append(found, ip)
				}
			}
		}
	}
	return found, nil
}

// plainLabel keeps anything out of the request's path that is not a name.
func plainLabel(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
