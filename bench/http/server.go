package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Directories below --cache.
const (
	storeDir = "store"
	nodeDir  = "node"
)

// generation is what was published.
type generation struct {
	*bulk.Built
	bytes int64 // of the objects that a node keeps in memory
}

// publish builds a generation in a new store, and promotes it.
func publish(ctx context.Context, set *dataset.Set, cache string, o bulk.Options) (*generation, error) {
	for _, dir := range []string{storeDir, nodeDir} {
		if err := os.RemoveAll(filepath.Join(cache, dir)); err != nil {
			return nil, err
		}
	}
	bucket, err := store.Open(ctx, filepath.Join(cache, storeDir), store.Options{})
	if err != nil {
		return nil, err
	}
	if err := commit.Create(ctx, bucket, set.Spec()); err != nil {
		return nil, err
	}
	log, err := commit.Open(ctx, bucket)
	if err != nil {
		return nil, err
	}
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "benchmark", Created: time.Now().UTC(),
		Produced: time.Now().UnixMilli(), Checkpoint: map[string]int64{"0": int64(set.N)}, LiveRows: int64(set.N)}
	g := &generation{}
	g.Built, err = bulk.Build(ctx, log.Spec(), set.Base, set.N, o, func(bodies segment.ChunkBodies) error {
		c, err := log.PutChunk(ctx, bodies)
		m.Chunks = append(m.Chunks, c)
		g.bytes += c.Rows.Size + c.Codes.Size
		return err
	})
	if err != nil {
		return nil, err
	}
	object, err := log.PutModel(ctx, g.Model)
	if err != nil {
		return nil, err
	}
	g.bytes += object.Size
	m.Model = &schemas.ModelRef{ID: g.Model.ID(), Object: object, NList: g.Model.NList(), TrainedRows: g.Model.TrainedRows()}
	if err := log.Publish(ctx, m); err != nil {
		return nil, err
	}
	_, err = log.Promote(ctx, nil, schemas.Channel{Generation: m.Generation, Reason: "benchmark", By: m.Builder})
	return g, err
}

// server is a process that serves a store.
type server struct {
	url     string
	process *exec.Cmd
	stdin   io.Closer
}

// serveCommand is the first argument of that process, before the directory.
const serveCommand = "serve"

// startServer starts this program again, to serve what was published with one thread.
func startServer(ctx context.Context, cache string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, self, serveCommand, cache)
	c.Env = append(os.Environ(), "GOMAXPROCS=1")
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	s := &server{process: c, stdin: stdin}
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("server: %w", err)
	}
	s.url = "http://" + strings.TrimSpace(address)
	return s, nil
}

func (s *server) stop() {
	s.stdin.Close() // which is what ends it
	_ = s.process.Wait()
}

// serveStore is the server: it follows the store, prints the address of its API once it has a generation, and ends with
// its standard input.
func serveStore(cache string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	level, err := avx.Best()
	if err != nil {
		return err
	}
	bucket, err := store.Open(ctx, filepath.Join(cache, storeDir), store.Options{})
	if err != nil {
		return err
	}
	log, err := commit.Open(ctx, bucket)
	if err != nil {
		return err
	}
	files, err := store.NewCache(filepath.Join(cache, nodeDir), bucket, store.CacheOptions{})
	if err != nil {
		return err
	}
	node, err := serve.New(serve.Options{Log: log, Cache: files, Level: level, PollEvery: time.Minute, Timeout: time.Hour})
	if err != nil {
		return err
	}
	go func() { _ = node.Run(ctx) }()
	for started := time.Now(); node.Ready() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(started) > time.Minute {
			return node.Ready()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	api := &http.Server{Handler: node.API(), ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- api.Serve(l) }()
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = api.Close()
	}()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
