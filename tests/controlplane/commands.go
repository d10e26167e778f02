package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// upDetached starts `up` in a session of its own, shows its progress until it
// is ready, and leaves it running. If one runs already, it waits for that.
func upDetached(ctx context.Context, o upOptions) error {
	logPath := filepath.Join(o.run, "log", "controlplane.log")
	// One starter at a time, or the second would disturb the first one's log
	// and fail. The second finds it running when its turn comes.
	unlock, err := lockFile(ctx, filepath.Join(o.run, "start.lock"), func() {
		say("another process starts the control plane in %s; waiting for it", o.run)
	})
	if err != nil {
		return err
	}
	defer unlock()
	deadline := time.Now().Add(60 * time.Second)
	for {
		lock, err := tryLock(filepath.Join(o.run, "lock"))
		if err == nil {
			lock.Close() // the child takes it
			return startDetached(ctx, o, logPath)
		}
		if !errors.Is(err, errLocked) {
			return err
		}
		conn, _, i, err := hold(o.run)
		if err == nil {
			conn.Close()
			say("running already: Kubernetes %s at %s", i.Version, i.Server)
			return nil
		}
		// Between the lock and the socket, or on its way down: look again.
		if time.Now().After(deadline) {
			return fmt.Errorf("the control plane in %s does not answer (%w); see %s", o.run, err, logPath)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func startDetached(ctx context.Context, o upOptions, logPath string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	os.Rename(logPath, logPath+".previous")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "up", "--cache", o.cache, "--run", o.run, "--node", o.node, "--linger", o.linger.String())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = newSession()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ready := make(chan error, 1)
	go func() {
		for {
			conn, _, _, err := hold(o.run)
			if err == nil {
				defer conn.Close()
				ready <- nil
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	shown, err := os.Open(logPath)
	if err != nil {
		return err
	}
	defer shown.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			io.Copy(os.Stdout, shown)
			return fmt.Errorf("the control plane did not start (%v); the lines above are in %s", err, logPath)
		case <-ready:
			io.Copy(os.Stdout, shown)
			return nil
		case <-ctx.Done():
			cmd.Process.Signal(syscall.SIGTERM)
			<-ended
			return errors.New("interrupted")
		case <-tick.C:
			io.Copy(os.Stdout, shown)
		}
	}
}

func runFlag(name string, args []string, rest bool) (string, []string, error) {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	run := fs.String("run", "", "folder of the plane")
	if err := parse(fs, args, rest); err != nil {
		return "", nil, err
	}
	if err := required("run", *run); err != nil {
		return "", nil, err
	}
	path, err := filepath.Abs(*run)
	if err == nil {
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			path = resolved
		}
	}
	return path, fs.Args(), err
}

// running says whether a plane holds this run folder.
func running(run string) (bool, error) {
	if _, err := os.Stat(run); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	lock, err := tryLock(filepath.Join(run, "lock"))
	if errors.Is(err, errLocked) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	lock.Close()
	return false, nil
}

func stopCommand(ctx context.Context, args []string) error {
	run, _, err := runFlag("stop", args, false)
	if err != nil {
		return err
	}
	start, signalled := time.Now(), false
	for {
		is, err := running(run)
		if err != nil {
			return err
		}
		if !is {
			if signalled {
				say("stopped in %s", seconds(start))
				return nil
			}
			// None runs; a killed one may have left files.
			if _, err := os.Stat(filepath.Join(run, "config.json")); err == nil {
				c := &config{Run: run, Data: filepath.Join(run, "data"), ID: runID(run)}
				if c.Sockets, err = socketDir(run); err != nil {
					return err
				}
				clean(c)
				os.Remove(filepath.Join(run, "state.json"))
			}
			say("no control plane runs in %s", run)
			return nil
		}
		if !signalled {
			// The lock is held, so the process with this number is the holder.
			if s, err := readState(run); err == nil && s.PID > 1 {
				signalled = syscall.Kill(s.PID, syscall.SIGTERM) == nil
			}
		}
		if time.Since(start) > time.Minute {
			return fmt.Errorf("the control plane in %s does not stop; see %s", run, filepath.Join(run, "log", "controlplane.log"))
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func statusCommand(args []string) error {
	run, _, err := runFlag("status", args, false)
	if err != nil {
		return err
	}
	is, err := running(run)
	if err != nil {
		return err
	}
	if !is {
		say("not running")
		return nil
	}
	s, err := readState(run)
	if err != nil {
		say("starting")
		return nil
	}
	say("%s, pid %d, for %s, %d clients", s.State, s.PID, time.Since(s.Since).Round(time.Second), s.Clients)
	return nil
}

// infoCommand prints what clients of the lease socket get.
func infoCommand(args []string) error {
	run, _, err := runFlag("info", args, false)
	if err != nil {
		return err
	}
	conn, _, i, err := hold(run)
	if err != nil {
		return fmt.Errorf("no control plane answers in %s: %w", run, err)
	}
	defer conn.Close()
	text, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	say("%s", text)
	return nil
}

// controlCommand stops or restarts one process of a running plane.
func controlCommand(args []string) error {
	run, rest, err := runFlag("control", args, true)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return fmt.Errorf("%w: control --run DIR start|stop|kill|restart|freeze|thaw PROCESS", errUsage)
	}
	conn, reader, _, err := hold(run)
	if err != nil {
		return err
	}
	defer conn.Close()
	return ask(conn, reader, request{Do: rest[0], Process: rest[1]})
}

func ask(conn io.Writer, reader *bufio.Reader, r request) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(text, '\n')); err != nil {
		return err
	}
	line, err := reader.ReadString('\n')
	if err != nil {
		return errGone
	}
	var a answer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		return err
	}
	if !a.OK {
		return errors.New(strings.TrimSpace(a.Error))
	}
	return nil
}
