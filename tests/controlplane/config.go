package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// config is everything decided before the plane starts. The outer process
// decides, and hands it to the inner one as a file.
type config struct {
	Run, Bin, Log, Sockets, Data string
	ID                           string // short, from the run folder: the name of the veth
	Version                      string
	Node                         bool
	NodeReason                   string
	Linger                       time.Duration

	Listen      string // address that servers listen on
	Address     string // address under which clients reach them
	HostAddress string
	NodeAddress string
	NodeSubnet  string
	PodCIDR     string
	ServiceCIDR string
	ServiceIP   string // of the Service "kubernetes"
	DNSAddress  string
	CNI         string
	Busybox     string
	Snapshotter string

	EtcdPort, EtcdPeerPort, APIPort, SecondAPIPort int
}

// info is the line that every client of the lease socket gets.
type info struct {
	Kubeconfig          string   `json:"kubeconfig"`
	Server              string   `json:"server"`
	SecondServer        string   `json:"secondServer"`
	Kubectl             string   `json:"kubectl"`
	BinDir              string   `json:"binDir"`
	Node                bool     `json:"node"`
	NodeReason          string   `json:"nodeReason"`
	NodeName            string   `json:"nodeName,omitempty"`
	HostAddress         string   `json:"hostAddress"`
	NodeAddress         string   `json:"nodeAddress"`
	PodCIDR             string   `json:"podCIDR"`
	ServiceCIDR         string   `json:"serviceCIDR"`
	AuditLog            string   `json:"auditLog"`
	RunDir              string   `json:"runDir"`
	LogDir              string   `json:"logDir"`
	EtcdEndpoint        string   `json:"etcdEndpoint"`
	EtcdClientCertFiles *certs   `json:"etcdClientCertFiles"`
	Ctr                 []string `json:"ctr,omitempty"`
	Enter               []string `json:"enter,omitempty"`
	CAFile              string   `json:"caFile"`
	CAKeyFile           string   `json:"caKeyFile"`
	Version             string   `json:"version"`
	Processes           []string `json:"processes"`
	PID                 int      `json:"pid"`
	Error               string   `json:"error,omitempty"`
}

type certs struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

const nodeName = "node"

func (c *config) pki(name string) string  { return filepath.Join(c.Run, "pki", name) }
func (c *config) conf(name string) string { return filepath.Join(c.Run, "conf", name) }
func (c *config) logFile(name string) string {
	return filepath.Join(c.Log, name+".log")
}
func (c *config) server() string { return fmt.Sprintf("https://%s:%d", c.Address, c.APIPort) }
func (c *config) secondServer() string {
	return fmt.Sprintf("https://%s:%d", c.Address, c.SecondAPIPort)
}
func (c *config) etcd() string       { return fmt.Sprintf("https://%s:%d", c.Address, c.EtcdPort) }
func (c *config) kubeconfig() string { return filepath.Join(c.Run, "kubeconfig") }
func (c *config) auditLog() string   { return filepath.Join(c.Log, "audit.log") }
func (c *config) bin(name string) string {
	return filepath.Join(c.Bin, name)
}
func (c *config) containerdSocket() string { return filepath.Join(c.Sockets, "containerd.sock") }

func (c *config) save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Run, "config.json"), text, 0o600)
}

func loadConfig(run string) (*config, error) {
	text, err := os.ReadFile(filepath.Join(run, "config.json"))
	if err != nil {
		return nil, err
	}
	c := &config{}
	return c, json.Unmarshal(text, c)
}

// prepareRun makes the run folder, private to this user.
func prepareRun(run string) (string, error) {
	run, err := filepath.Abs(run)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(run, 0o700); err != nil {
		return "", err
	}
	// Symbolic links resolved, so that one folder has one name and one ID.
	if run, err = filepath.EvalSymlinks(run); err != nil {
		return "", err
	}
	if err := os.Chmod(run, 0o700); err != nil {
		return "", err
	}
	return run, os.MkdirAll(filepath.Join(run, "log"), 0o700)
}

func runID(run string) string {
	sum := sha256.Sum256([]byte(run))
	return "cp" + hex.EncodeToString(sum[:])[:8]
}

// socketDir is where the sockets of a run folder are: in it, unless its name
// is too long for the 108 bytes of a unix socket's address.
func socketDir(run string) (string, error) {
	if len(run) <= 70 {
		return run, nil
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d", runID(run), os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	// The name can be guessed: what is there must be ours alone.
	st, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !st.IsDir() || st.Mode().Perm()&0o077 != 0 || !ownedByUs(st) {
		return "", fmt.Errorf("%s exists and is not a private folder of this user; remove it", dir)
	}
	return dir, nil
}

// state is what RUN/state.json says about the running plane.
type state struct {
	State   string    `json:"state"` // starting, building, ready, stopping
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Clients int       `json:"clients"`
}

func writeState(run string, s state) {
	text, err := json.Marshal(s)
	if err != nil {
		return
	}
	// Renamed into place: readers never see half a file.
	temp := filepath.Join(run, ".state.json")
	if os.WriteFile(temp, append(text, '\n'), 0o600) == nil {
		os.Rename(temp, filepath.Join(run, "state.json"))
	}
}

func readState(run string) (state, error) {
	var s state
	text, err := os.ReadFile(filepath.Join(run, "state.json"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}
