package cmd

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
)

// The operator's tool against running daemons: a file is produced and found, hostile messages are quarantined with their
// place and reason while their neighbours are searchable, and snapshot, quarantine and doctor tell the truth.
func TestOperatorsTool(t *testing.T) {
	f := newFleetTest(t)
	f.start("ingestor", "--brokers", f.brokers, "--flush-age", "50ms")
	f.start("builder")
	api, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	_, ops := f.start("query", "--listen", api, "--poll-every", "50ms")

	if out := f.produceFile(batch(rand.New(rand.NewPCG(8, 8)), 0, 400)); !strings.Contains(out, "400 rows acknowledged") {
		t.Errorf("produce says %q", out)
	}
	all, _ := f.readTopic()
	live := 1 // the good neighbour of bad rows, which is sent now
	for _, v := range all {
		if !v.deleted {
			live++
		}
	}
	hostile := f.sendHostile()
	f.awaitServed("http://" + api)
	if err := fleet.AwaitOK(t.Context(), "http://"+ops+"/readyz"); err != nil {
		t.Fatal(err)
	}

	out := f.run("quarantine", "ls", "--store", f.storage)
	for _, pattern := range hostile {
		if !regexp.MustCompile(pattern).MatchString(out) {
			t.Errorf("quarantine has nothing like %q:\n%s", pattern, out)
		}
	}
	if n := strings.Count(out, "\n"); n != len(hostile) {
		t.Errorf("%d things in quarantine, want %d:\n%s", n, len(hostile), out)
	}
	out = f.run("search", "--url", "http://"+api, "--like", "90000001", "--exact", "-k", "3")
	if !strings.Contains(out, "generation ") {
		t.Errorf("the neighbour of bad rows is not searchable:\n%s", out)
	}
	out = f.run("snapshot", "ls", "--store", f.storage)
	if !strings.Contains(out, "stable") || !strings.Contains(out, fmt.Sprint(live)) {
		t.Errorf("snapshot ls, want %d live rows:\n%s", live, out)
	}
	pinned := regexp.MustCompile(`serving generation \d+, pinned, by \S+@\S+ at \S+: a test`)
	for _, call := range [][]string{{"pin", "--current", "--reason", "a test"}, {"ls"}} {
		if out = f.run(append([]string{"snapshot"}, append(call, "--store", f.storage)...)...); !pinned.MatchString(out) {
			t.Errorf("snapshot %s:\n%s", call[0], out)
		}
	}
	f.run("snapshot", "unpin", "--store", f.storage)
	if out = f.run("snapshot", "show", "--store", f.storage, "0"); !strings.Contains(out, `"live_rows"`) {
		t.Errorf("snapshot show:\n%s", out)
	}
	out = f.run("doctor", "--store", f.storage, "--brokers", f.brokers)
	if strings.Contains(out, "BAD") || strings.Count(out, "ok ") != 9 || !regexp.MustCompile(`ok   quarantine +recently refused: .*\d for malformed.*: see .adastream quarantine ls`).MatchString(out) {
		t.Errorf("doctor:\n%s", out)
	}
}

func (f *fleetTest) run(args ...string) string {
	f.Helper()
	out, err := f.bin.Run(f.Context(), "adastream", args...)
	if err != nil {
		f.Fatal(err)
	}
	return out
}

func writeFile(t *testing.T, name string, b arrow.RecordBatch) {
	t.Helper()
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ipc.NewFileWriter(out, ipc.WithSchema(b.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(b), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// sendHostile sends broken messages to partition 0, and one whose rows are bad but for one, 90000001. It returns what the
// quarantine has to say: a pattern for each thing that is refused.
func (f *fleetTest) sendHostile() []string {
	f.Helper()
	good, err := produce.Encode(batch(rand.New(rand.NewPCG(1, 2)), 0, 3))
	if err != nil {
		f.Fatal(err)
	}
	producer := f.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	for _, value := range [][]byte{[]byte("not arrow at all"), good[:len(good)-9], f.claimsTooMuch(good), f.mixedRows()} {
		if err := producer.Send(f.Context(), source.Message{Partition: 0, Value: value}); err != nil {
			f.Fatal(err)
		}
	}
	b, err := f.client.Bounds(f.Context(), 0)
	if err != nil {
		f.Fatal(err)
	}
	at := func(message int64, row, reason string) string {
		return fmt.Sprintf(`partition 0 +offset %d +%s +%s `, b.End-4+message, row, reason)
	}
	return []string{at(0, "message", "malformed"), at(1, "message", "malformed"), at(2, "message", "malformed"),
		at(3, "row 0", "not_finite"), at(3, "row 2", "zero_vector"), at(3, "row 3", "null_id")}
}

// claimsTooMuch makes the record batch of a message claim a body of 1 TiB.
func (f *fleetTest) claimsTooMuch(good []byte) []byte {
	f.Helper()
	r := ipc.NewMessageReader(bytes.NewReader(good))
	defer r.Release()
	var body int64
	for {
		m, err := r.Message()
		if err != nil {
			break
		}
		body = max(body, m.BodyLen())
	}
	length, claim := make([]byte, 8), make([]byte, 8)
	binary.LittleEndian.PutUint64(length, uint64(body))
	binary.LittleEndian.PutUint64(claim, 1<<40)
	if bytes.Count(good, length) != 1 {
		f.Fatalf("the body length %d is %d times in the message", body, bytes.Count(good, length))
	}
	return bytes.Replace(good, length, claim, 1)
}

// mixedRows is a message of four rows: not finite, good, zero, without an id.
func (f *fleetTest) mixedRows() []byte {
	f.Helper()
	fields := messageSchema.Fields()
	fields[0].Nullable = true
	md := messageSchema.Metadata()
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, &md))
	defer b.Release()
	list := b.Field(3).(*array.FixedSizeListBuilder)
	for row := range 4 {
		if row == 3 {
			b.Field(0).AppendNull()
		} else {
			b.Field(0).(*array.Int64Builder).Append(int64(90000000 + row))
		}
		b.Field(1).AppendNull()
		b.Field(2).(*array.Int32Builder).Append(int32(row))
		list.Append(true)
		for d := range dim {
			x := float32(d + 1)
			switch {
			case row == 0 && d == 5:
				x = float32(math.NaN())
			case row == 2:
				x = 0
			}
			list.ValueBuilder().(*array.Float32Builder).Append(x)
		}
	}
	value, err := produce.Encode(b.NewRecordBatch())
	if err != nil {
		f.Fatal(err)
	}
	return value
}

// awaitServed waits until the query node serves everything that the topic holds.
func (f *fleetTest) awaitServed(api string) {
	f.Helper()
	ends := map[string]int64{}
	for p := range partitions {
		b, err := f.client.Bounds(f.Context(), p)
		if err != nil {
			f.Fatal(err)
		}
		ends[fmt.Sprint(p)] = b.End
	}
	var s struct {
		Serving *struct{ Offsets map[string]int64 }
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r, err := http.Get(api + "/v1/snapshots")
		if err != nil {
			continue // the node is starting
		}
		err = json.NewDecoder(r.Body).Decode(&s)
		r.Body.Close()
		if err != nil {
			f.Fatal(err)
		}
		if s.Serving != nil && maps.Equal(s.Serving.Offsets, ends) {
			return
		}
	}
	f.Fatalf("the node serves %+v after a minute, want %v", s.Serving, ends)
}

// A call or a configuration that is wrong gets exit code 2 and one message that names the flag, the value and what is
// allowed.
func TestWrongCallsExitWithTwo(t *testing.T) {
	f := newFleetTest(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte("flush-agee: 1s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"query", nil, []string{"--store"}},
		{"query", []string{"--store", filepath.Join(dir, "empty")}, []string{"no index", "adastream init"}},
		{"query", []string{"--store", "gopher://x"}, []string{"--store", "gopher", "s3://"}},
		{"query", []string{"--store", f.storage, "--max-running=-1"}, []string{"--max-running -1", "more than 0"}},
		{"query", []string{"--store", f.storage, "--log-format", "xml"}, []string{"log-format", "xml", "text"}},
		{"builder", []string{"--store", f.storage, "--min-train-rows", "3"}, []string{"min train rows", "3", "256"}},
		{"builder", []string{"--store", f.storage, "--ops-listen", "nowhere"}, []string{"--ops-listen nowhere", "host:port"}},
		{"builder", []string{"--store", f.storage, "--ops-listen", taken.Addr().String()}, []string{"--ops-listen " + taken.Addr().String(), "in use", "choose another"}},
		{"query", []string{"--store", f.storage, "--listen", taken.Addr().String(), "--ops-listen", "127.0.0.1:0"}, []string{"--listen " + taken.Addr().String(), "in use"}},
		{"query", []string{"--store", f.storage, "--ops-listen", "127.0.0.1:0", "--cache-bytes=-1"}, []string{"--cache-bytes -1", "positive"}},
		{"ingestor", []string{"--store", f.storage}, []string{"--brokers"}},
		{"ingestor", []string{"--store", f.storage, "--brokers", "x"}, []string{"brokers", "x"}},
		{"ingestor", []string{"--store", f.storage, "--brokers", f.brokers, "--flush-age=-1s"}, []string{"--flush-age -1s", "more than 0"}},
		{"ingestor", []string{"--store", f.storage, "--brokers", f.brokers, "--config", config}, []string{"flush-agee", "not a flag"}},
		{"adastream", []string{"init", "--store", dir, "--brokers", f.brokers, "--ladder", "7,9", "--encoder", "x"}, []string{"ladder", "7 9", "multiples of 4"}},
		{"adastream", []string{"init", "--store", dir, "--brokers", f.brokers, "--ladder", "8,16"}, []string{"encoder", "allowed"}},
		{"adastream", []string{"init", "--store", f.storage, "--brokers", f.brokers, "--ladder", "8,16", "--encoder", "x", "--topic", f.topic}, []string{"an index exists already"}},
		{"adastream", []string{"search", "--like", "a", "--vector", "b"}, []string{"--like", "--vector"}},
		{"adastream", []string{"snapshot", "show", "--store", f.storage, "99"}, []string{"99", "snapshot ls"}},
		{"adastream", []string{"snapshot", "ls", "--store", f.storage, "--last=-1"}, []string{"--last", "-1", "negative"}},
		{"adastream", []string{"snapshot", "promote", "--store", f.storage, "99"}, []string{"99", "snapshot ls"}},
		{"adastream", []string{"snapshot", "promote", "--store", f.storage, "--epoch", "next"}, []string{"epoch next", "adastream init"}},
		{"adastream", []string{"snapshot", "pin", "--store", f.storage, "1"}, []string{"--reason", "see adastream snapshot pin --help"}},
		{"adastream", []string{"snapshot", "pin", "--store", f.storage, "--reason", "x"}, []string{"--current"}},
		{"adastream", []string{"snapshot", "unpin", "--store", f.storage}, []string{"not pinned"}},
		{"adastream", []string{"snapshot", "rollback", "--store", f.storage, "--reason", "x"}, []string{"nothing is served"}},
		{"adastream", []string{"quarantine", "ls", "--store", f.storage, "--partition", "99"}, []string{"--partition 99", "0 to "}},
	} {
		t.Run(c.name+" "+strings.Join(c.args, " "), func(t *testing.T) {
			out, err := f.bin.Run(t.Context(), c.name, c.args...)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 {
				t.Errorf("ended with %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q does not say %q", out, want)
				}
			}
		})
	}
	// SIMD levels come from the environment alone.
	t.Setenv("ADASTREAM_SIMD", "mmx")
	if out, err := f.bin.Run(t.Context(), "query", "--store", f.storage); err == nil || !strings.Contains(out, "mmx") || !strings.Contains(out, "generic") {
		t.Errorf("ADASTREAM_SIMD=mmx: %v %q", err, out)
	}
}
