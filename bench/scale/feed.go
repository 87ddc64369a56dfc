package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

const encoder = "scale/1"

// fed is what getting rows in and building came to.
type fed struct {
	Via           string           `json:"via"`
	Before        int              `json:"rows_before"`   // that an earlier run, which was stopped, had got in
	In            float64          `json:"in_seconds"`    // until the last row was committed
	Built         float64          `json:"built_seconds"` // until nothing was left to do, from the beginning
	Roles         map[string]used  `json:"roles"`
	Jobs          jobs             `json:"jobs"`
	Disk          int64            `json:"disk"` // the most that was in use at a time
	Stored        int64            `json:"stored"`
	Folders       map[string]int64 `json:"stored_by_folder"`
	Manifest      int64            `json:"manifest_bytes"`
	Chunks        int              `json:"chunks"`
	Segments      int              `json:"segments"`
	NList         int              `json:"nlist"`
	TrainedRows   int64            `json:"trained_rows"`
	Recall        float64          `json:"recall"` // that the builder measured
	Generation    int64            `json:"generation"`
	BytesByObject map[string]int64 `json:"generation_bytes"`
}

func (b *bench) feed() error {
	b.watcher.roles() // from here on
	ladder := strings.Trim(strings.ReplaceAll(fmt.Sprint(b.Ladder), " ", ","), "[]")
	if _, err := b.bin.Run(b.ctx, "adastream", "init", "--store", b.Store, "--brokers", b.Brokers, "--name", b.Name, "--topic", b.Name,
		"--ladder", ladder, "--encoder", encoder, "--vectors", string(schemas.Float16), "--partitions", fmt.Sprint(b.Partitions), "--loads", "1"); err != nil {
		return err
	}
	index, err := b.index()
	if err != nil {
		return err
	}
	began := time.Now()
	builder, ops, err := b.daemon("builder", append([]string{"--log-level", "debug"}, b.BuilderFlag...)...)
	if err != nil {
		return err
	}
	defer builder.Kill()
	daemons := []*fleet.Process{builder}
	if b.Via == "kafka" {
		ingestor, _, err := b.daemon("ingestor", "--brokers", b.Brokers)
		if err != nil {
			return err
		}
		defer ingestor.Kill()
		daemons = append(daemons, ingestor)
	}
	f := &fed{Via: b.Via}
	if f.Before, err = b.truth.read(b.dir); err != nil {
		return err
	}
	if err := b.bring(index, daemons, f.Before); err != nil {
		return errors.Join(err, b.keepLogs(daemons))
	}
	f.In = time.Since(began).Seconds()
	fmt.Printf("fed: all rows are committed after %.0f s, %.0f rows/s\n", f.In, float64(b.Rows-f.Before)/f.In)
	if err := b.awaitReady(ops, daemons...); err != nil { // it has loaded what is there
		return errors.Join(err, b.keepLogs(daemons))
	}
	m, err := b.settle(index, builder, daemons, int64(b.Rows))
	if err != nil {
		return errors.Join(err, b.keepLogs(daemons))
	}
	f.Built = time.Since(began).Seconds()
	f.Roles = b.watcher.roles()
	if err := b.keepLogs(daemons); err != nil {
		return err
	}
	if f.Jobs, err = jobsOf(builder.Log()); err != nil {
		return err
	}
	if err := f.describe(b, m); err != nil {
		return err
	}
	f.print(b.Rows)
	if err := b.record("feed", f); err != nil {
		return err
	}
	return stop(daemons)
}

// stop lets daemons end. A builder may be about to land a rewrite.
func stop(daemons []*fleet.Process) error {
	for _, p := range daemons {
		if err := p.Stop(grace); err != nil {
			return err
		}
	}
	return nil
}

const grace = 2 * time.Minute

func (b *bench) keepLogs(daemons []*fleet.Process) error {
	var faults []error
	for _, p := range daemons {
		faults = append(faults, os.WriteFile(filepath.Join(b.dir, p.Name+".log"), []byte(p.Log()), 0o600))
	}
	return errors.Join(faults...)
}

func (f *fed) describe(b *bench, m *schemas.Manifest) (err error) {
	if f.Folders, f.Stored, err = b.stored(); err != nil {
		return err
	}
	info, err := b.bucket.Stat(b.ctx, fmt.Sprintf("manifests/0000/%020d", m.Generation))
	if err != nil {
		return err
	}
	b.watcher.mu.Lock()
	f.Disk = b.watcher.disk
	b.watcher.mu.Unlock()
	f.Manifest, f.Chunks, f.Segments, f.Generation = info.Size, len(m.Chunks), len(m.Segments), m.Generation
	if m.Model != nil {
		f.NList, f.TrainedRows = m.Model.NList, m.Model.TrainedRows
	}
	if m.Quality != nil {
		f.Recall = m.Quality.Recall
	}
	f.BytesByObject = map[string]int64{}
	for _, c := range m.Chunks {
		f.BytesByObject["rows"] += c.Rows.Size
		f.BytesByObject["codes"] += c.Codes.Size
		f.BytesByObject["vectors"] += c.Vectors.Size
	}
	for _, s := range m.Segments {
		f.BytesByObject["segments"] += s.Size
	}
	if m.Model != nil {
		f.BytesByObject["model"] = m.Model.Size
	}
	return nil
}

func (f *fed) print(rows int) {
	fmt.Printf("built: nothing is left to do after %.0f s; generation %d: %d chunks, %d segments, a manifest of %d bytes, %d lists trained for %d rows, recall %.4f by the builder\n",
		f.Built, f.Generation, f.Chunks, f.Segments, f.Manifest, f.NList, f.TrainedRows, f.Recall)
	for _, name := range slices.Sorted(maps.Keys(f.BytesByObject)) {
		fmt.Printf("  %-9s %d MiB, %.0f bytes a row of the index\n", name, f.BytesByObject[name]>>20, float64(f.BytesByObject[name])/float64(rows))
	}
	fmt.Printf("  stored %d MiB; most of the disk that was in use: %d MiB, of everything here\n", f.Stored>>20, f.Disk>>20)
	printRoles(f.Roles)
	f.Jobs.print()
}

// bring gets the rows from the first-th on in, a file at a time, while the next one is drawn.
func (b *bench) bring(index *commit.Log, daemons []*fleet.Process, first int) error {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	parts := make(chan part)
	failed := make(chan error, 1)
	go func() {
		failed <- b.draw(ctx, first, parts)
		close(parts)
	}()
	for p := range parts {
		err := ended(daemons)
		if err == nil && b.Via == "kafka" {
			err = b.produce(p)
		} else if err == nil {
			err = b.load(p)
		}
		if err == nil && b.Via == "kafka" {
			err = b.takenIn(index, daemons, int64(p.end))
		}
		if err == nil {
			err = p.nearest.write(b.dir, p.end)
		}
		if err = errors.Join(err, os.Remove(p.file)); err != nil {
			return err
		}
		fmt.Printf("%s  %d rows are in\n", time.Now().Format(time.TimeOnly), p.end)
	}
	return <-failed
}

// part is a file of the rows [first, end).
type part struct {
	file       string
	first, end int
	nearest    truth // of all rows up to its end
}

// draw writes the parts, one ahead of the one that is loaded, and notes what queries should find.
func (b *bench) draw(ctx context.Context, first int, parts chan<- part) error {
	dim := b.law.dims()
	for ; first < b.Rows; first += b.PartRows {
		p := part{file: filepath.Join(b.dir, fmt.Sprintf("rows-%09d.fbin", first)), first: first, end: min(first+b.PartRows, b.Rows)}
		rows := make([]float32, (p.end-p.first)*dim)
		for at := 0; at < len(rows); at += blockRows * dim {
			block := rows[at:min(len(rows), at+blockRows*dim)]
			if err := b.law.draw(baseRows, (p.first+at/dim)/blockRows, block); err != nil {
				return err
			}
			b.truth.add(p.first+at/dim, block)
		}
		if err := writeFbin(p.file, rows, dim); err != nil {
			return err
		}
		p.nearest.nearest = slices.Clone(b.truth.nearest) // whose slices are replaced, not changed
		select {
		case parts <- p:
		case <-ctx.Done():
			return os.Remove(p.file)
		}
	}
	return nil
}

// writeFbin writes a matrix as big-ann-benchmarks does.
func writeFbin(name string, rows []float32, dim int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	header := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(len(rows)/dim)), uint32(dim))
	_, err = f.Write(header)
	if err == nil {
		_, err = f.Write(unsafe.Slice((*byte)(unsafe.Pointer(&rows[0])), 4*len(rows))) // little-endian, as this machine
	}
	return errors.Join(err, f.Close())
}

// load loads a part as a load of its own.
func (b *bench) load(p part) error {
	return b.ours("load", "load", "--store", b.Store, "--name", fmt.Sprintf("rows-%d", p.first), "--encoder", encoder, "--first-id", fmt.Sprint(p.first), p.file)
}

func (b *bench) produce(p part) error {
	return b.ours("produce", "produce", "--brokers", b.Brokers, "--topic", b.Name, "--encoder", encoder, "--first-id", fmt.Sprint(p.first), p.file)
}

// ours runs a command of the operator's tool, and watches it.
func (b *bench) ours(role string, args ...string) error {
	p, err := b.bin.Start("adastream", nil, args...)
	if err != nil {
		return err
	}
	defer p.Kill()
	b.watcher.watch(role, p)
	for {
		if over, err := p.Ended(); err != nil {
			return fmt.Errorf("%s: %w\n%s", role, err, p.Log())
		} else if over {
			return nil
		}
		if err := pause(b.ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// behind is how many messages of the topic may wait for an ingestor when more are produced: what waits is on the disk.
const behind = 128

// takenIn waits until the ingestor is less than that behind, or at the end with the last part.
func (b *bench) takenIn(index *commit.Log, daemons []*fleet.Process, end int64) error {
	client, err := source.New(source.Options{Brokers: strings.Split(b.Brokers, ","), Topic: b.Name})
	if err != nil {
		return err
	}
	defer client.Close()
	allowed := int64(behind)
	if end == int64(b.Rows) {
		allowed = 0
	}
	next := map[int]int64{}
	for {
		waiting := int64(0)
		for p := range b.Partitions {
			bounds, err := client.Bounds(b.ctx, p)
			if err != nil {
				return err
			}
			head, err := index.Head(b.ctx, p, next[p])
			if err != nil {
				return err
			}
			next[p] = head.Next
			waiting += bounds.End - head.Next
		}
		if waiting <= allowed {
			return nil
		}
		if err := errors.Join(ended(daemons), pause(b.ctx, 100*time.Millisecond)); err != nil {
			return err
		}
	}
}

// settle waits until a generation has all rows, and the builder has told of no job for a while that has not landed.
func (b *bench) settle(index *commit.Log, builder *fleet.Process, daemons []*fleet.Process, rows int64) (*schemas.Manifest, error) {
	since := time.Now()
	var m *schemas.Manifest
	for {
		after := int64(0)
		if m != nil {
			after = m.Generation
		}
		newer, err := index.Latest(b.ctx, after)
		if err != nil {
			return nil, err
		}
		if newer != nil { // perhaps one without news, of a collection
			m = newer
		}
		if m == nil || m.LiveRows < rows || busy(builder.Log()) {
			since = time.Now()
		}
		if time.Since(since) > b.Quiet {
			return m, nil
		}
		if err := errors.Join(ended(daemons), pause(b.ctx, 500*time.Millisecond)); err != nil {
			return nil, err
		}
	}
}

// busy says whether a job has begun, by a builder's log, and has not landed.
func busy(log string) bool {
	return strings.Count(log, `"msg":"job started"`) > strings.Count(log, `"msg":"job landed"`)
}

// ended says which daemon has ended although it should not.
func ended(daemons []*fleet.Process) error {
	for _, p := range daemons {
		if over, err := p.Ended(); over {
			log := p.Log()
			return fmt.Errorf("%s has ended: %w\n%s", p.Name, err, log[max(0, len(log)-4000):])
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func folderOf(key string) string {
	folder, _, _ := strings.Cut(key, "/")
	return folder
}
