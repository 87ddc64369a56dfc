package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/adastream/adastream/bench/fleet"
)

// peer is a library behind peers/serve.py, a process of its own.
type peer struct {
	ready    about
	cmd      *exec.Cmd
	requests io.WriteCloser
	replies  *bufio.Scanner
	found    string // file of the answers
	queries  int
	log      bytes.Buffer
}

// foreign are settings of other programs' BLAS, which would slow a peer down; threads the variables that libraries read when they load.
var (
	foreign = []string{"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NVPL_BLAS_DEBUG_CPU_TYPE"}
	threads = []string{"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS"}
)

func startPeer(name string, o *options, t *task) (*peer, error) {
	dir, err := os.MkdirTemp(t.dir, name+"-")
	if err != nil {
		return nil, err
	}
	p := &peer{found: filepath.Join(dir, "found.i32"), queries: len(t.queries) / t.vectors.dim}
	p.cmd = exec.Command(o.Python, filepath.Join(o.Peers, "serve.py"), name, "--data", t.data, "--queries", t.asked, "--dim", fmt.Sprint(t.vectors.dim),
		"--most", fmt.Sprint(t.runbook.MaxPts), "--threads", fmt.Sprint(o.Threads), "--dir", dir, "--found", p.found)
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(foreign, name)
	})
	for _, name := range threads {
		p.cmd.Env = append(p.cmd.Env, fmt.Sprintf("%s=%d", name, o.Threads))
	}
	p.cmd.Stderr = &p.log
	if p.requests, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.replies = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.reply(&p.ready); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *peer) about() about { return p.ready }

// reply reads the next line that is an object: libraries write to standard output as they please.
func (p *peer) reply(into any) error {
	for p.replies.Scan() {
		if line := p.replies.Bytes(); bytes.HasPrefix(line, []byte("{")) {
			return json.Unmarshal(line, into)
		}
	}
	_ = p.cmd.Wait() // the log says why
	return fmt.Errorf("it has ended:\n%s", &p.log)
}

// call has the process do something, and returns its own time.
func (p *peer) call(request any) (time.Duration, error) {
	if err := json.NewEncoder(p.requests).Encode(request); err != nil {
		return 0, err
	}
	var a struct{ Seconds float64 }
	err := p.reply(&a)
	return time.Duration(a.Seconds * float64(time.Second)), err
}

func (p *peer) update(_ context.Context, s *step) (time.Duration, error) { return p.call(s) }

func (p *peer) settle(context.Context) (time.Duration, error) {
	return p.call(map[string]any{"operation": "settle"})
}

func (p *peer) search(_ context.Context, setting int) (*answers, error) {
	took, err := p.call(map[string]any{"operation": opSearch, "setting": setting})
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(p.found)
	if err == nil && len(raw) != 4*k*p.queries {
		err = fmt.Errorf("answers of %d bytes, there must be %d", len(raw), 4*k*p.queries)
	}
	if err != nil {
		return nil, err
	}
	return &answers{found: unsafe.Slice((*int32)(unsafe.Pointer(&raw[0])), k*p.queries), took: took}, nil
}

func (p *peer) usage() (*usage, error) {
	u := &usage{}
	var err1, err2, err3 error
	u.resident, u.peak, _, err1 = fleet.Resident(p.cmd.Process.Pid)
	u.cpu, err2 = fleet.CPU(p.cmd.Process.Pid)
	u.queued, err3 = fleet.Queued(p.cmd.Process.Pid)
	return u, errors.Join(err1, err2, err3)
}

func (p *peer) close() error {
	_ = p.requests.Close() // at the end of its input it ends
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Wait()
	}
	return os.RemoveAll(filepath.Dir(p.found))
}
