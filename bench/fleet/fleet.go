// Package fleet runs the real daemons as processes of this machine, for the end-to-end tests and the benchmarks: built
// from the tree, started, killed, measured.
package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Binaries are the commands, built into a directory.
type Binaries struct{ dir string }

// module is the one whose commands are built.
const module = "github.com/adastream/adastream"

// Tree is the directory of the module, also for modules that replace it by their own tree's.
func Tree(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("directory of %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Build compiles the commands into dir, which is absolute.
func Build(ctx context.Context, dir string) (*Binaries, error) {
	b := In(dir)
	return b, b.Compile(ctx, nil, "ingestor", "builder", "query", "adastream")
}

// In is where binaries are to be: dir, which is absolute.
func In(dir string) *Binaries { return &Binaries{dir} }

// Compile compiles some of the commands, with flags of go build.
func (b *Binaries) Compile(ctx context.Context, flags []string, names ...string) error {
	tree, err := Tree(ctx)
	if err != nil {
		return err
	}
	args := append([]string{"build", "-o", b.dir + string(filepath.Separator)}, flags...)
	for _, name := range names {
		args = append(args, module+"/cmd/"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = tree // where go.sum has what the commands need
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build commands: %w\n%s", err, out)
	}
	return nil
}

// Run runs a command to its end and returns what it printed.
func (b *Binaries) Run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(b.dir, name), args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Process is a daemon that runs.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  lockedBuffer
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read after done
}

// Start starts a daemon with environment variables beside those of this process.
func (b *Binaries) Start(name string, env []string, args ...string) (*Process, error) {
	p := &Process{Name: name, cmd: exec.Command(filepath.Join(b.dir, name), args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Kill ends the process at once, as a crash would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Pause stops the process where it is, as a machine does that swaps or migrates. Resume lets it go on.
func (p *Process) Pause() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) } // it may have ended

// Resume ends a Pause.
func (p *Process) Resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) } // it may have ended

// Stop asks the process to end and returns how it did; after grace it is killed.
func (p *Process) Stop(grace time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
		return p.err
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.Name, grace)
	}
}

// Ended says whether the process has ended, and how.
func (p *Process) Ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// Pid is the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log is what the process has printed.
func (p *Process) Log() string { return p.log.String() }

// Resident returns the memory that the process holds now and the most that it held, in bytes: all of it, and the part
// that is not backed by a file, which the kernel cannot simply drop.
func (p *Process) Resident() (all, peak, anonymous int64, err error) {
	return Resident(p.cmd.Process.Pid)
}

// Resident is the same of any process.
func Resident(pid int) (all, peak, anonymous int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, 0, err
	}
	field := func(name string) int64 {
		_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
		fields := bytes.Fields(rest)
		if len(fields) == 0 {
			return 0
		}
		kib, _ := strconv.ParseInt(string(fields[0]), 10, 64)
		return kib << 10
	}
	return field("VmRSS"), field("VmHWM"), field("RssAnon"), nil
}

// CPU returns the processor time that the process has used.
func (p *Process) CPU() (time.Duration, error) { return CPU(p.cmd.Process.Pid) }

// CPU is the same of any process.
func CPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	fields := bytes.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields, want at least 13 after the name", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * time.Second / 100, errors.Join(err1, err2) // Linux counts in 1/100 s
}

// Queued returns how long threads of the process that are still there were ready to run, and waited for a core.
func (p *Process) Queued() (time.Duration, error) { return Queued(p.cmd.Process.Pid) }

// Queued is the same of any process.
func Queued(pid int) (total time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil { // the thread has ended
			continue
		}
		var ran, queued int64
		if _, err := fmt.Sscan(string(text), &ran, &queued); err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		total += time.Duration(queued)
	}
	return total, nil
}

// given has the addresses that Address has returned. Whoever got one may not listen there yet.
var given sync.Map

// Ports that Address returns, [firstPort, endPort). A connection gets one from endPort on where nobody has set that otherwise, and might take what
// is to be listened on a moment later.
const firstPort, endPort = 10_000, 32_768

// Address returns a free address of the loopback interface, in this process never the same one twice.
func Address() (string, error) {
	for range endPort - firstPort {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(endPort-firstPort))
		if _, known := given.LoadOrStore(address, true); known {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue // somebody else's
		}
		return address, l.Close()
	}
	return "", errors.New("no free address")
}

// AwaitOK polls url until it answers 200.
func AwaitOK(ctx context.Context, url string) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %v)", url, ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
