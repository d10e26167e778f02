package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority is the one certificate authority of a plane. It signs servers and
// clients alike, which is enough for a cluster that lives for minutes.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// identity says who a certificate is for.
type identity struct {
	file         string // base name of the .crt and .key files
	name         string
	groups       []string
	names        []string // DNS names; any name or address makes it a server's certificate too
	addresses    []string
	certPEM, key []byte
}

func newAuthority(dir string) (*authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(pkix.Name{CommonName: "controlplane"})
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, cert: cert, key: key, pem: pemBlock("CERTIFICATE", der)}
	keyPEM, err := keyBlock(key)
	if err != nil {
		return nil, err
	}
	if err := a.write("ca.crt", a.pem); err != nil {
		return nil, err
	}
	return a, a.write("ca.key", keyPEM)
}

// issue makes and writes one certificate with its key.
func (a *authority) issue(id *identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(pkix.Name{CommonName: id.name, Organization: id.groups})
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(id.names)+len(id.addresses) > 0 {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		t.DNSNames = id.names
		for _, s := range id.addresses {
			t.IPAddresses = append(t.IPAddresses, net.ParseIP(s))
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("certificate for %s: %w", id.name, err)
	}
	id.certPEM = pemBlock("CERTIFICATE", der)
	if id.key, err = keyBlock(key); err != nil {
		return err
	}
	if err := a.write(id.file+".crt", id.certPEM); err != nil {
		return err
	}
	return a.write(id.file+".key", id.key)
}

// signingKey writes the key pair that signs ServiceAccount tokens.
func (a *authority) signingKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := keyBlock(key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := a.write("service-accounts.key", private); err != nil {
		return err
	}
	return a.write("service-accounts.pub", pemBlock("PUBLIC KEY", der))
}

// kubeconfig writes a self-contained kubeconfig. It is JSON, which every
// reader of kubeconfig files takes, since JSON is YAML.
func (a *authority) kubeconfig(path, server string, id *identity) error {
	b64 := base64.StdEncoding.EncodeToString
	type object = map[string]any
	text, err := json.MarshalIndent(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "controlplane",
		"clusters": []object{{"name": "controlplane", "cluster": object{"server": server, "certificate-authority-data": b64(a.pem)}}},
		"contexts": []object{{"name": "controlplane", "context": object{"cluster": "controlplane", "user": id.name}}},
		"users": []object{{"name": id.name, "user": object{
			"client-certificate-data": b64(id.certPEM), "client-key-data": b64(id.key)}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name string, data []byte) error {
	return os.WriteFile(a.path(name), data, 0o600)
}

func template(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the system has no randomness: nothing below can work
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		// An hour back, for clocks that are set while the plane runs.
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().AddDate(1, 0, 0),
	}
}

func keyBlock(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pemBlock("EC PRIVATE KEY", der), nil
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
