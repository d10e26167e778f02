package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// starter starts every child from one thread that never ends: the kernel
// sends the parent-death signal when the starting *thread* ends.
var starter = sync.OnceValue(func() chan func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func startOnLastingThread(cmd *exec.Cmd) error {
	result := make(chan error)
	starter() <- func() { result <- cmd.Start() }
	return <-result
}

// process is one program of the plane, restarted when it ends unasked.
type process struct {
	name    string
	path    string
	args    []string
	logPath string

	mu       sync.Mutex
	cmd      *exec.Cmd
	done     chan struct{} // closed when the current cmd has ended
	wanted   bool
	restarts []time.Time
	failed   func(*process, error) // called when restarting is given up
}

// start runs the program and keeps it running.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	p.wanted = true
	return p.launch()
}

func (p *process) launch() error {
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.Env = childEnvironment()
	cmd.SysProcAttr = ownGroup()
	if err := startOnLastingThread(cmd); err != nil {
		return fmt.Errorf("cannot start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go p.watch(cmd, done)
	return nil
}

func (p *process) watch(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	p.cmd = nil
	close(done)
	if !p.wanted {
		p.mu.Unlock()
		return
	}
	// A program that keeps ending is broken, not unlucky.
	now := time.Now()
	recent := p.restarts[:0]
	for _, t := range p.restarts {
		if now.Sub(t) < time.Minute {
			recent = append(recent, t)
		}
	}
	p.restarts = append(recent, now)
	if len(p.restarts) > 5 {
		p.wanted = false
		p.mu.Unlock()
		if err == nil {
			err = errors.New("exit status 0")
		}
		p.failed(p, err)
		return
	}
	p.mu.Unlock()
	say("%s ended (%v); starting it again", p.name, cmd.ProcessState)
	time.Sleep(time.Duration(len(recent)+1) * 500 * time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted && p.cmd == nil {
		if err := p.launch(); err != nil {
			go p.failed(p, err)
		}
	}
}

// stop ends the program and waits until it is gone. With kill it gets no
// chance to say goodbye.
func (p *process) stop(kill bool) {
	p.mu.Lock()
	p.wanted = false
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	if !kill {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
			return
		case <-time.After(5 * time.Second):
		}
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-done
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// childEnvironment is a clean one: a KUBECONFIG or a proxy setting of the
// caller must not reach the plane's programs.
func childEnvironment() []string {
	path := os.Getenv("PATH")
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"} {
		path += string(filepath.ListSeparator) + dir
	}
	return []string{"PATH=" + path, "HOME=/", "LANG=C"}
}

// tool runs a short helper program and puts its output into the error.
func tool(name string, args ...string) error {
	path := lookTool(name)
	if path == "" {
		return fmt.Errorf("%s is not installed", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = childEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %v: %s", name, args, err, lastLines(string(out), 5))
	}
	return nil
}

func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	return lastLines(string(text), n)
}

func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return fmt.Errorf("%s is not running", p.name)
	}
	return p.cmd.Process.Signal(s)
}
