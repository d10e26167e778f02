package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// lease keeps the plane alive as long as a client holds a connection. A
// client needs no goodbye: the kernel closes its connection in any case.
type lease struct {
	c        *config
	listener net.Listener
	control  func(do, process string) error
	outer    int
	expired  chan struct{}

	mu      sync.Mutex
	clients map[net.Conn]bool
	line    []byte // nil until the plane is ready
	timer   *time.Timer
	ended   bool
	since   time.Time
}

// request is one line from a client, answered by one line.
type request struct {
	Do      string `json:"do"`
	Process string `json:"process"`
}

type answer struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// listenLease opens RUN/lease.sock, which is a symbolic link when the path is
// too long for a socket.
func listenLease(c *config) (*net.UnixListener, error) {
	path := filepath.Join(c.Sockets, "lease.sock")
	os.Remove(path)
	if c.Sockets != c.Run {
		link := filepath.Join(c.Run, "lease.sock")
		os.Remove(link)
		if err := os.Symlink(path, link); err != nil {
			return nil, err
		}
	}
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

func dialLease(run string) (net.Conn, error) {
	path, err := filepath.EvalSymlinks(filepath.Join(run, "lease.sock"))
	if err != nil {
		return nil, err
	}
	return net.Dial("unix", path)
}

// refuseClients answers those that still wait when nothing will become ready.
func refuseClients(listener *net.UnixListener, cause error) {
	listener.SetDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		writeLine(conn, info{Error: cause.Error()})
		conn.Close()
	}
}

func writeLine(conn net.Conn, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err = conn.Write(append(text, '\n'))
	return err
}

func newLease(c *config, listener net.Listener, control func(do, process string) error, outer int) *lease {
	return &lease{c: c, listener: listener, control: control, outer: outer,
		expired: make(chan struct{}), clients: map[net.Conn]bool{}, since: time.Now()}
}

func (l *lease) serve() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		if l.ended {
			l.mu.Unlock()
			conn.Close()
			continue
		}
		l.clients[conn] = true
		if l.timer != nil {
			l.timer.Stop()
			l.timer = nil
		}
		line := l.line
		l.report()
		l.mu.Unlock()
		if line != nil {
			conn.Write(line)
		}
		go l.follow(conn)
	}
}

// follow reads a client's requests until it is gone.
func (l *lease) follow(conn net.Conn) {
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var r request
		err := json.Unmarshal(lines.Bytes(), &r)
		if err == nil {
			err = l.control(r.Do, r.Process)
		}
		a := answer{OK: err == nil}
		if err != nil {
			a.Error = err.Error()
		}
		if writeLine(conn, a) != nil {
			break
		}
	}
	conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.clients, conn)
	l.idle()
	l.report()
}

// idle starts the countdown when no client is connected. Called with the lock.
func (l *lease) idle() {
	if l.line == nil || l.ended || len(l.clients) > 0 || l.c.Linger == 0 || l.timer != nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(l.c.Linger, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		// A client may have come while this function waited for the lock.
		if l.timer == timer && !l.ended && len(l.clients) == 0 {
			l.ended = true
			close(l.expired)
		}
	})
	l.timer = timer
}

// announce tells the clients that the plane is ready.
func (l *lease) announce(i info) {
	line, err := json.Marshal(i)
	if err != nil {
		panic(err) // a struct of strings
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(line, '\n')
	for conn := range l.clients {
		conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		conn.Write(l.line)
		conn.SetWriteDeadline(time.Time{})
	}
	l.idle()
	l.report()
}

// end closes everything; clients that are still connected see the end of the
// connection, and the cause if there is one and they have no line yet.
func (l *lease) end(cause error) {
	l.listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for conn := range l.clients {
		if cause != nil {
			writeLine(conn, info{Error: cause.Error()})
		}
		conn.Close()
	}
	writeState(l.c.Run, state{State: "stopping", PID: l.outer, Since: l.since})
}

func (l *lease) report() {
	if l.ended {
		return
	}
	s := state{State: "starting", PID: l.outer, Since: l.since, Clients: len(l.clients)}
	if l.line != nil {
		s.State = "ready"
	}
	writeState(l.c.Run, s)
}

// errGone is what a client sees that came at the very end of a plane.
var errGone = errors.New("the control plane ended before it answered")

// hold connects and waits for the line. The caller holds the lease until it
// closes the connection.
func hold(run string) (net.Conn, *bufio.Reader, *info, error) {
	conn, err := dialLease(run)
	if err != nil {
		return nil, nil, nil, err
	}
	reader := bufio.NewReader(conn)
	text, err := reader.ReadBytes('\n')
	if err != nil {
		conn.Close()
		return nil, nil, nil, errGone
	}
	i := &info{}
	if err := json.Unmarshal(text, i); err != nil {
		conn.Close()
		return nil, nil, nil, err
	}
	if i.Error != "" {
		conn.Close()
		return nil, nil, nil, fmt.Errorf("the control plane failed: %s", i.Error)
	}
	return conn, reader, i, nil
}
