package dataset

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/search"
)

// Ready is what an engine of bench/peers says when it is: see bench/peers/protocol.py.
type Ready struct {
	Ready          bool     `json:"ready"`
	Engine         string   `json:"engine"`
	Version        string   `json:"version"`
	TrainSeconds   float64  `json:"train_seconds"`
	AddSeconds     float64  `json:"add_seconds"`
	BuildSeconds   float64  `json:"build_seconds"`
	BytesPerVector float64  `json:"bytes_per_vector"`
	Settings       []string `json:"settings"`
}

// NewReady describes an engine whose index took bytes beside the rows.
func (s *Set) NewReady(engine, version string, b *bulk.Built, bytes int64, settings []search.Plan) Ready {
	r := Ready{Ready: true, Engine: engine, Version: version, TrainSeconds: b.Trained.Seconds(), AddSeconds: b.Added.Seconds(),
		BuildSeconds: (b.Trained + b.Added).Seconds(), BytesPerVector: float64(bytes) / float64(s.N)}
	for _, p := range settings {
		r.Settings = append(r.Settings, Describe(p))
	}
	return r
}

// request asks for the first queries of the data set at one setting.
type request struct {
	Setting int    `json:"setting"`
	Batched bool   `json:"batched"`
	Queries int    `json:"queries"`
	Out     string `json:"out"`
}

// Search answers the first queries: the rows found, [queries][K], and the time inside of the calls.
type Search func(p search.Plan, queries int, batched bool) (found []int32, took time.Duration, err error)

// Serve answers requests until the input ends.
func (s *Set) Serve(in io.Reader, out io.Writer, r Ready, settings []search.Plan, run Search) error {
	replies := json.NewEncoder(out)
	if err := replies.Encode(r); err != nil {
		return err
	}
	requests := json.NewDecoder(bufio.NewReader(in))
	for requests.More() {
		var r request
		if err := requests.Decode(&r); err != nil {
			return err
		}
		if r.Setting < 0 || r.Setting >= len(settings) || r.Queries < 1 || r.Queries > s.Queries {
			return fmt.Errorf("setting %d of %d with %d of %d queries", r.Setting, len(settings), r.Queries, s.Queries)
		}
		found, took, err := run(settings[r.Setting], r.Queries, r.Batched)
		if err != nil {
			return err
		}
		if err := os.WriteFile(r.Out, bytesOf(found), 0o600); err != nil {
			return err
		}
		if err := replies.Encode(map[string]float64{"seconds": took.Seconds()}); err != nil {
			return err
		}
	}
	return nil
}

func bytesOf(v []int32) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v)) }
