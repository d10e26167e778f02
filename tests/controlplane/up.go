package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// innerCommand is how the program starts itself inside the namespaces.
const innerCommand = "__inner"

type upOptions struct {
	cache, run, node string
	linger           time.Duration
}

func upCommand(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("up", flag.ContinueOnError)
	o := upOptions{}
	fs.StringVar(&o.cache, "cache", "", "folder that keeps the binaries")
	fs.StringVar(&o.run, "run", "", "folder of this plane")
	fs.StringVar(&o.node, "node", "auto", "a real node: auto, required or none")
	fs.DurationVar(&o.linger, "linger", 20*time.Second, "how long to stay without clients; 0 is for ever")
	detach := fs.Bool("detach", false, "return when ready, and leave the plane running")
	if err := parse(fs, args, false); err != nil {
		return err
	}
	if err := errors.Join(required("cache", o.cache), required("run", o.run)); err != nil {
		return err
	}
	if o.node != "auto" && o.node != "required" && o.node != "none" {
		return fmt.Errorf("%w: --node is auto, required or none, not %q", errUsage, o.node)
	}
	run, err := prepareRun(o.run)
	if err != nil {
		return err
	}
	o.run = run
	if *detach {
		return upDetached(ctx, o)
	}
	lock, err := tryLock(filepath.Join(run, "lock"))
	if errors.Is(err, errLocked) {
		return fmt.Errorf("a control plane runs in %s already; stop it with: controlplane stop --run %s", run, run)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return supervise(ctx, o)
}

// supervise is the outer process. It holds what belongs to the host (lock,
// lease socket, the host's end of the veth) and starts the inner process,
// which runs the plane. When this one is killed, the kernel kills the inner
// one, and with it its namespaces and everything in them.
func supervise(ctx context.Context, o upOptions) (err error) {
	c := &config{Run: o.run, Log: filepath.Join(o.run, "log"), Linger: o.linger, ID: runID(o.run)}
	c.Data = filepath.Join(c.Run, "data")
	if c.Sockets, err = socketDir(c.Run); err != nil {
		return err
	}
	clean(c) // what a killed predecessor left; with its folder of sockets
	if c.Sockets, err = socketDir(c.Run); err != nil {
		return err
	}
	started := time.Now()
	writeState(c.Run, state{State: "starting", PID: os.Getpid(), Since: started})
	defer os.Remove(filepath.Join(c.Run, "state.json"))
	defer clean(c)

	// Listening from the start, so that clients may connect while the plane
	// is still being built; they are answered when it is ready.
	listener, err := listenLease(c)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			refuseClients(listener, err)
		}
		listener.Close()
	}()

	if err := decideNode(ctx, c, o.node); err != nil {
		return err
	}
	writeState(c.Run, state{State: "building", PID: os.Getpid(), Since: started})
	if err := findBinaries(ctx, c, o); err != nil {
		return err
	}
	writeState(c.Run, state{State: "starting", PID: os.Getpid(), Since: started})
	if c.Node {
		reservation, err := pickSubnets(c)
		if err != nil {
			return err
		}
		defer reservation.Close()
	} else if err := pickPorts(c); err != nil {
		return err
	}
	if err := c.save(); err != nil {
		return err
	}
	return runPlane(ctx, c, listener)
}

func decideNode(ctx context.Context, c *config, wish string) error {
	if wish == "none" {
		c.NodeReason = "not asked for (--node none)"
		return nil
	}
	err := ensureNode(ctx)
	if err != nil && (wish == "required" || ctx.Err() != nil) {
		return fmt.Errorf("no node: %w", err)
	}
	if err != nil {
		c.NodeReason = err.Error()
		say("no node: %v", err)
		return nil
	}
	c.Node, c.CNI, c.Busybox = true, cniDir(), busyboxPath()
	return nil
}

// findBinaries takes what KUBEBUILDER_ASSETS offers, or builds.
func findBinaries(ctx context.Context, c *config, o upOptions) error {
	a, err := providedAssets(c.Node)
	if err != nil && c.Node && o.node != "required" {
		c.Node, c.NodeReason = false, err.Error()
		say("no node: %v", err)
		a, err = providedAssets(false)
	}
	if err == nil && a == nil {
		a, err = build(ctx, o.cache, c.Node)
	}
	if err != nil {
		return err
	}
	c.Bin, c.Version = a.dir, a.version
	return nil
}

// runPlane starts the inner process and waits for its end.
func runPlane(ctx context.Context, c *config, listener *net.UnixListener) error {
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer socket.Close()
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer goRead.Close()
	defer goWrite.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, innerCommand)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = goRead, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), innerVariable+"="+c.Run)
	cmd.SysProcAttr = ownGroup()
	if c.Node {
		cmd.SysProcAttr = ownNamespaces()
	}
	if err := startOnLastingThread(cmd); err != nil {
		return fmt.Errorf("cannot start inside new namespaces: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	kill := func(cause error) error {
		cmd.Process.Kill()
		<-ended
		return cause
	}
	if c.Node {
		if err := joinHost(c, cmd.Process.Pid); err != nil {
			return kill(err)
		}
	}
	// The outer pid goes along: inside, this process has no name.
	if _, err := fmt.Fprintf(goWrite, "%d %d\n", os.Getpid(), cmd.Process.Pid); err != nil {
		return kill(err)
	}
	stop := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == failedInside {
				return errors.New("the control plane did not run; see above, and the logs in " + c.Log)
			}
			if err != nil {
				return fmt.Errorf("the plane's process ended: %w", err)
			}
			return nil
		case <-stop:
			stop = nil
			cmd.Process.Signal(syscall.SIGTERM)
			late = time.After(20 * time.Second)
		case <-late:
			kill(nil)
			return errors.New("the plane did not stop in 20 s and was killed")
		}
	}
}
