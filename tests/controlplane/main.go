// Command controlplane builds and runs a real Kubernetes control plane and,
// as root on Linux, a real node beside it, for the demo and the tests.
//
// Only the standard library is imported here: the module's requirements are
// the programs it builds, so this command itself compiles in a second.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const usage = `controlplane builds and runs a real Kubernetes control plane for tests.

  controlplane build --cache DIR [--node]
  controlplane up --cache DIR --run DIR [--node auto|required|none] [--linger 20s] [--detach]
  controlplane stop --run DIR
  controlplane status --run DIR
  controlplane info --run DIR
  controlplane control --run DIR start|stop|kill|restart|freeze|thaw PROCESS
  controlplane image --run DIR --name NAME:TAG [--entrypoint PATH] [--busybox] FILE[:PATH-IN-IMAGE]...
  controlplane prerequisites [--install]

See README.md beside this program.
`

// errUsage marks mistakes on the command line, which exit with 2 as usual.
var errUsage = errors.New("wrong usage")

func init() {
	// A parent-death signal is sent when the *thread* that started the child
	// ends. Every child is started from the main goroutine's thread or from
	// the starter's (process.go), both of which live as long as the process.
	runtime.LockOSThread()
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	// The reader of our output may go away before us; that must not end us
	// without cleaning up. (Ignoring the signal would be inherited.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	err := dispatch(ctx, os.Args[1], os.Args[2:])
	cancel()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "controlplane: %v\n\n%s", err, usage)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, command string, args []string) error {
	switch command {
	case "build":
		return buildCommand(ctx, args)
	case "up":
		return upCommand(ctx, args)
	case "stop":
		return stopCommand(ctx, args)
	case "status":
		return statusCommand(args)
	case "info":
		return infoCommand(args)
	case "control":
		return controlCommand(args)
	case "image":
		return imageCommand(ctx, args)
	case "prerequisites":
		return prerequisitesCommand(ctx, args)
	case innerCommand:
		return runInner(ctx)
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	}
	return fmt.Errorf("%w: there is no command %q", errUsage, command)
}

// parse reads the flags of one command; rest says whether arguments may follow.
func parse(fs *flag.FlagSet, args []string, rest bool) error {
	fs.SetOutput(os.Stderr)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %v", errUsage, err)
	}
	if !rest && fs.NArg() > 0 {
		return fmt.Errorf("%w: unexpected arguments: %s", errUsage, strings.Join(fs.Args(), " "))
	}
	return nil
}

func required(name, value string) error {
	if value == "" {
		return fmt.Errorf("%w: --%s is required", errUsage, name)
	}
	return nil
}

// say prints one progress line. Lines, not carriage returns: the output is
// read in continuous-integration logs as often as on a terminal.
func say(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
}

func seconds(since time.Time) string {
	d := time.Since(since)
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
