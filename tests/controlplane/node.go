package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// pauseImage holds a pod's namespaces open. It is made here: there is no
// registry to pull the usual one from.
const pauseImage = "docker.io/library/controlplane-pause:1"

func (p *plane) startContainerd() error {
	c := p.c
	c.Snapshotter = snapshotter(c)
	if err := c.save(); err != nil { // the command image has to know it
		return err
	}
	configuration := fmt.Sprintf(`version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = %q
[debug]
  level = "warn"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_apparmor = true
  # Lowering oom_score_adj is refused in many virtual machines and containers,
  # and then no pod starts at all.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %q
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, c.containerdSocket(), pauseImage, c.Snapshotter, c.CNI, c.conf("cni"))
	if err := os.WriteFile(c.conf("containerd.toml"), []byte(configuration), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(c.conf("cni"), 0o700); err != nil {
		return err
	}
	// A veth per pod, routed by the node. On a bridge, the reply of a pod that
	// was reached through a Service would go past the node's address
	// translation, unless the kernel module br_netfilter is loaded.
	network := fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "ptp",
  "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
`, c.PodCIDR)
	if err := os.WriteFile(filepath.Join(c.conf("cni"), "10-pods.conflist"), []byte(network), 0o600); err != nil {
		return err
	}
	return p.add("containerd", lookTool("containerd"), "--config", c.conf("containerd.toml")).start()
}

// kubeletConfiguration is JSON, which the kubelet reads as YAML.
func (p *plane) kubeletConfiguration() ([]byte, error) {
	c := p.c
	type object = map[string]any
	return json.MarshalIndent(object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": c.NodeAddress, "port": 10250, "healthzPort": 0,
		"tlsCertFile": c.pki("kubelet.crt"), "tlsPrivateKeyFile": c.pki("kubelet.key"),
		"authentication": object{
			"anonymous": object{"enabled": false}, "webhook": object{"enabled": true},
			"x509": object{"clientCAFile": c.pki("ca.crt")}},
		"authorization":            object{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + c.containerdSocket(),
		"clusterDomain":            clusterDomain, "clusterDNS": []string{c.DNSAddress},
		"resolvConf": c.conf("resolv.conf"),
		// No control groups per pod: works with version 1, 2 and mixtures.
		"cgroupDriver": "cgroupfs", "cgroupsPerQOS": false, "enforceNodeAllocatable": []string{},
		"failCgroupV1": false, "failSwapOn": false,
		// The machine's disk may be nearly full and its memory in use: that is
		// not this node's business.
		"evictionHard": object{"memory.available": "1Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%"},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99, "imageMinimumGCAge": "24h0m0s",
		// Tests wait for what the kubelet reports and mounts.
		"nodeStatusUpdateFrequency": "2s", "syncFrequency": "2s",
		"eventRecordQPS": 0, "registryPullQPS": 0,
		"crashLoopBackOff": object{"maxContainerRestartPeriod": "5s"},
		"volumePluginDir":  "/var/lib/kubelet/volume-plugins",
	}, "", " ")
}

func (p *plane) startNode(ctx context.Context) error {
	c := p.c
	configuration, err := p.kubeletConfiguration()
	if err != nil {
		return err
	}
	proxy := fmt.Sprintf(`{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
 "mode": "iptables", "clusterCIDR": %q, "hostnameOverride": %q, "bindAddress": %q,
 "clientConnection": {"kubeconfig": %q}, "healthzBindAddress": "127.0.0.1:10256",
 "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
 "iptables": {"minSyncPeriod": "100ms"}}
`, c.PodCIDR, nodeName, c.NodeAddress, c.conf("proxy.kubeconfig"))
	for name, text := range map[string]string{
		"kubelet.json": string(configuration), "kube-proxy.json": proxy, "resolv.conf": "",
	} {
		if err := os.WriteFile(c.conf(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := p.serveDNS(); err != nil {
		return fmt.Errorf("the cluster's DNS: %w", err)
	}
	if err := p.wait(ctx, "containerd", "containerd to answer", p.importPause); err != nil {
		return err
	}
	for _, proc := range []*process{
		p.add("kubelet", c.bin("kubelet"), "--config="+c.conf("kubelet.json"), "--kubeconfig="+c.conf("kubelet.kubeconfig"),
			"--hostname-override="+nodeName, "--node-ip="+c.NodeAddress),
		p.add("kube-proxy", c.bin("kube-proxy"), "--config="+c.conf("kube-proxy.json")),
		p.add("kube-scheduler", c.bin("kube-scheduler"), "--kubeconfig="+c.conf("scheduler.kubeconfig"),
			"--leader-elect=false", "--secure-port=0", "--profiling=false"),
	} {
		if err := proc.start(); err != nil {
			return err
		}
	}
	return nil
}

// importPause makes and imports the pause image; it is the probe for
// containerd as well.
func (p *plane) importPause() error {
	if _, err := os.Stat(p.c.containerdSocket()); err != nil {
		return err
	}
	archive := filepath.Join(p.c.Data, "pause.tar")
	if _, err := os.Stat(archive); err != nil {
		im := newImage(pauseImage)
		im.entrypoint = []string{"/bin/busybox", "sleep", "2147483647"}
		if err := im.addFile(p.c.Busybox, "/bin/busybox"); err != nil {
			return err
		}
		if err := im.write(archive); err != nil {
			return err
		}
	}
	return importImage(p.c, archive)
}

func importImage(c *config, archive string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, lookTool("ctr"), "--address", c.containerdSocket(), "--namespace", "k8s.io",
		"images", "import", "--snapshotter", c.Snapshotter, archive)
	cmd.Env = childEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ctr images import: %v: %s", err, lastLines(string(out), 5))
	}
	return nil
}

// waitNode waits until a pod that is created now would run and be served.
func (p *plane) waitNode(ctx context.Context) error {
	err := p.wait(ctx, "kubelet", "the node to become ready", func() error {
		var node struct {
			Spec   struct{ Taints []struct{ Key string } }
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		if err := p.get("/api/v1/nodes/"+nodeName, &node); err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type != "Ready" {
				continue
			}
			if condition.Status != "True" {
				return errors.New(condition.Message)
			}
			if len(node.Spec.Taints) > 0 {
				return fmt.Errorf("the node still has the taint %s", node.Spec.Taints[0].Key)
			}
			return nil
		}
		return errors.New("no status yet")
	})
	if err != nil {
		return err
	}
	return p.wait(ctx, "kube-proxy", "the rules for Services", func() error {
		response, err := http.Get("http://127.0.0.1:10256/healthz")
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}
