package verify_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/verify"
	"github.com/adastream/adastream/schemas"
)

const dim = 16

// shelf is an index in memory that a real builder has built.
type shelf struct {
	*testing.T
	bucket store.Bucket
	log    *commit.Log
	rng    *rand.Rand
	next   int64
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{T: t, bucket: store.NewMemory(), rng: rand.New(rand.NewPCG(1, 2))}
	spec := schemas.Spec{Name: "shelf", Ladder: []int{dim}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 1}, Defaults: schemas.Defaults{TargetRecall: 0.5}}.WithDefaults()
	s.log = buildtest.Create(t, s.bucket, &spec)
	return s
}

// commit adds a commit of n upserts of ids below most, and some deletes.
func (s *shelf) commit(n, most int) {
	s.Helper()
	rows := segment.NewRows(s.log.Spec())
	var stones []segment.Tombstone
	c := &schemas.Commit{Start: s.next, End: s.next + int64(n)}
	for i := range n {
		id, order := fmt.Sprint("id-", s.rng.IntN(most)), segment.Order{Offset: s.next + int64(i)}
		if i%10 == 9 {
			stones = append(stones, segment.Tombstone{ID: id, Order: order})
			continue
		}
		rows.IDs, rows.Orders = append(rows.IDs, id), append(rows.Orders, order)
		for range dim {
			rows.AppendFloats(avx.Generic, []float32{float32(s.rng.NormFloat64())})
		}
	}
	refused := func(row int32) ingest.Quarantined {
		return ingest.Quarantined{Topic: "t", Offset: s.next, Row: row, Fault: schemas.Fault{Reason: schemas.ReasonDims, Detail: "15"}, Payload: []byte("refused")}
	}
	body, err := ingest.WriteQuarantine([]ingest.Quarantined{refused(3), refused(4)})
	if err != nil {
		s.Fatal(err)
	}
	buildtest.Append(s, s.log, c, rows, stones, body, map[string]int{schemas.ReasonDims: 2})
	s.next = c.End
}

// build runs a builder until everything is folded and served, and there is a base.
func (s *shelf) build() *schemas.Manifest {
	s.Helper()
	return buildtest.Build(s, s.log, func(m *schemas.Manifest) bool {
		c, err := s.log.Channel(s.Context(), 0)
		return err == nil && c != nil && c.Generation == m.Generation && len(m.Chunks) > 0
	})
}

func (s *shelf) verify() *verify.Report {
	s.Helper()
	report, err := verify.Run(s.Context(), verify.Options{Log: s.log, Cache: buildtest.Cache(s, s.bucket), Level: avx.Generic})
	if err != nil {
		s.Fatal(err)
	}
	return report
}

// replace has other bytes under a key, or none.
func (s *shelf) replace(key string, change func([]byte) []byte) {
	s.Helper()
	body, err := s.bucket.Get(s.Context(), key)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.bucket.Delete(s.Context(), key); err != nil {
		s.Fatal(err)
	}
	if change == nil {
		return
	}
	if err := s.bucket.PutIfAbsent(s.Context(), key, change(body)); err != nil {
		s.Fatal(err)
	}
}

func flip(body []byte) []byte { body[len(body)/2] ^= 4; return body }

func TestVerify(t *testing.T) {
	newBuilt := func(t *testing.T) (*shelf, *schemas.Manifest) {
		s := newShelf(t)
		s.commit(900, 2000)
		s.build()
		s.commit(50, 2000)
		m := s.build()
		s.commit(30, 2000) // not folded
		first := s.settle(commit.Place{Row: 3}, nil, schemas.Resolution{State: schemas.Replaying, ID: "replay-1"})
		s.settle(commit.Place{Row: 3}, first, schemas.Resolution{State: schemas.Replayed})
		s.settle(commit.Place{Offset: 950, Row: 4}, nil, schemas.Resolution{State: schemas.Dropped})
		return s, m
	}
	t.Run("good", func(t *testing.T) {
		s, m := newBuilt(t)
		r := s.verify()
		if len(r.Faults) > 0 || r.Commits != 3 || r.Generations < 2 || r.Objects < 8 || r.Resolutions != 3 || r.Rows != m.LiveRows {
			t.Errorf("%+v", r)
		}
		buildtest.Collect(t, s.log)
		if r := s.verify(); len(r.Faults) > 0 || r.Generations != 2 || r.Rows != m.LiveRows {
			t.Errorf("collected: %+v", r)
		}
	})
	t.Run("copied to another place", func(t *testing.T) {
		s, m := newBuilt(t)
		there, err := store.Open(t.Context(), t.TempDir(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for info, err := range s.bucket.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			body, err := s.bucket.Get(t.Context(), info.Key)
			if err == nil {
				err = there.PutIfAbsent(t.Context(), info.Key, body)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		s.bucket = there
		s.log = s.open()
		if r := s.verify(); len(r.Faults) > 0 || r.Rows != m.LiveRows {
			t.Errorf("%+v", r)
		}
		if later := s.build(); later.Generation <= m.Generation || later.LiveRows < m.LiveRows {
			t.Errorf("it goes on with %+v", later)
		}
	})
	t.Run("one object of several generations", func(t *testing.T) {
		s, m := newBuilt(t)
		later := s.build()
		if later.Chunks[0].Codes.Key != m.Chunks[0].Codes.Key {
			t.Fatal("the generations share no chunk")
		}
		s.replace(m.Chunks[0].Codes.Key, nil)
		r := s.verify()
		if len(r.Faults) != 1 || !strings.Contains(r.Faults[0].Error(), " generations, ") || !strings.Contains(r.Faults[0].Error(), m.Chunks[0].Codes.Key) {
			t.Errorf("%d faults: %q", len(r.Faults), r.Faults)
		}
	})
	for name, test := range map[string]struct {
		damage func(s *shelf, m *schemas.Manifest)
		want   []string
	}{
		"a byte of a chunk": {func(s *shelf, m *schemas.Manifest) { s.replace(m.Chunks[0].Vectors.Key, flip) }, []string{"chunks/", ".vectors.arrow"}},
		"a chunk is gone":   {func(s *shelf, m *schemas.Manifest) { s.replace(m.Chunks[0].Codes.Key, nil) }, []string{"chunks/", "not found"}},
		"the model is cut": {func(s *shelf, m *schemas.Manifest) {
			s.replace(m.Model.Key, func(b []byte) []byte { return b[:len(b)-1] })
		}, []string{"models/"}},
		"a byte of a segment":    {func(s *shelf, m *schemas.Manifest) { s.replace(s.last().Segment.Key, flip) }, []string{"commit [950, 980)", "segments/000000"}},
		"tombstones are gone":    {func(s *shelf, m *schemas.Manifest) { s.replace(s.last().Tombstones.Key, nil) }, []string{"commit [950, 980)", "tombstones/000000"}},
		"a byte of a quarantine": {func(s *shelf, m *schemas.Manifest) { s.replace(s.last().Quarantine.Key, flip) }, []string{"commit [950, 980)", "quarantine/000000"}},
		"another quarantine": {func(s *shelf, m *schemas.Manifest) {
			body, err := ingest.WriteQuarantine([]ingest.Quarantined{{Topic: "t", Row: 3, Fault: schemas.Fault{Reason: schemas.ReasonDims}}})
			if err != nil {
				t.Fatal(err)
			}
			o, err := s.log.PutQuarantine(t.Context(), 0, 950, body)
			if err != nil {
				t.Fatal(err)
			}
			was := s.last().Quarantine
			s.replace("commits/000000/00000000000000000950", func(b []byte) []byte {
				return []byte(strings.NewReplacer(was.Key, o.Key, fmt.Sprintf(`"size":%d,"sha256":"%s`, was.Size, was.SHA256), fmt.Sprintf(`"size":%d,"sha256":"%s`, o.Size, o.SHA256)).Replace(string(b)))
			})
		}, []string{"commit [950, 980)", "partition 0, offset 0, row 3 is not of its commit"}},
		"a quarantine of more than its commit counts": {func(s *shelf, m *schemas.Manifest) {
			s.replace("commits/000000/00000000000000000950", func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"dims":2`, `"dims":1`, 1))
			})
		}, []string{"commit [950, 980)", "refused were map[dims:2], its commit says map[dims:1]"}},
		"a resolution is rubbish": {func(s *shelf, m *schemas.Manifest) {
			s.replace("resolved/000000/00000000000000000950/0000000004/00000000000000000001", func(b []byte) []byte { return b[1:] })
		}, []string{"what became of the quarantine", "resolved/000000/00000000000000000950/0000000004/"}},
		"the begin of a resolution is gone": {func(s *shelf, m *schemas.Manifest) {
			s.replace("resolved/000000/00000000000000000000/0000000003/00000000000000000001", nil)
		}, []string{"the line has a hole before it"}},
		"a resolution after the last one": {func(s *shelf, m *schemas.Manifest) {
			const line = "resolved/000000/00000000000000000000/0000000003/0000000000000000000"
			body, err := s.bucket.Get(t.Context(), line+"1")
			if err == nil {
				err = s.bucket.PutIfAbsent(t.Context(), line+"3", bytes.Replace(body, []byte(`"number":1`), []byte(`"number":3`), 1))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, []string{"it follows one that says replayed"}},
		"a replay to no partition": {func(s *shelf, m *schemas.Manifest) {
			s.replace("resolved/000000/00000000000000000000/0000000003/00000000000000000001", func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"to":0`, `"to":1`, 1))
			})
		}, []string{"to: partition 1, allowed: 0 to 0"}},
		"two replays of one id": {func(s *shelf, m *schemas.Manifest) {
			s.settle(commit.Place{Row: 4}, nil, schemas.Resolution{State: schemas.Replaying, ID: "replay-1"})
		}, []string{`partition 0, offset 0, row 4: a replay has id "replay-1", as has one of partition 0, offset 0, row 3`}},
		"a resolution of what was not refused": {func(s *shelf, m *schemas.Manifest) {
			s.settle(commit.Place{Offset: 900, Row: 5}, nil, schemas.Resolution{State: schemas.Dropped})
		}, []string{"partition 0, offset 900, row 5: it is resolved, and no commit has refused it"}},
		"a commit is gone": {func(s *shelf, m *schemas.Manifest) { s.replace("commits/000000/00000000000000000900", nil) }, []string{"partition 0", "hole"}},
		"the channel's generation is gone": {func(s *shelf, m *schemas.Manifest) {
			s.replace(fmt.Sprintf("manifests/0000/%020d", m.Generation), nil)
		}, []string{"what the channel names", "not found"}},
		"a manifest says other rows": {func(s *shelf, m *schemas.Manifest) {
			s.replace(fmt.Sprintf("manifests/0000/%020d", m.Generation), func(b []byte) []byte {
				return []byte(strings.Replace(string(b), fmt.Sprintf(`"live_rows":%d`, m.LiveRows), `"live_rows":1`, 1))
			})
		}, []string{"manifest counts 1 live rows"}},
		"a manifest without its dead rows": {func(s *shelf, m *schemas.Manifest) {
			s.replace(fmt.Sprintf("manifests/0000/%020d", m.Generation), func(b []byte) []byte {
				text := strings.Replace(string(b), fmt.Sprintf(`"live_rows":%d,"dead_rows":%d`, m.LiveRows, m.DeadRows), fmt.Sprintf(`"live_rows":%d,"dead_rows":0`, m.LiveRows+m.DeadRows), 1)
				from := strings.Index(text, `"dead":{`)
				return []byte(text[:from] + text[from+strings.Index(text[from:], "}")+2:])
			})
		}, []string{"is live twice"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := newBuilt(t)
			test.damage(s, m)
			s.log = s.open()
			r := s.verify()
			if len(r.Faults) == 0 {
				t.Fatal("nothing is found")
			}
			text := fmt.Sprint(r.Faults)
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s\nhas no %q", text, want)
				}
			}
		})
	}
}

func (s *shelf) open() *commit.Log {
	s.Helper()
	log, err := commit.Open(s.Context(), s.bucket)
	if err != nil {
		s.Fatal(err)
	}
	return log
}

// settle says what becomes of something refused.
func (s *shelf) settle(at commit.Place, seen *schemas.Resolution, r schemas.Resolution) *schemas.Resolution {
	s.Helper()
	r.By = "mara@ops"
	settled, err := s.log.Settle(s.Context(), at, seen, r)
	if err != nil {
		s.Fatal(err)
	}
	return settled
}

// last is the newest commit.
func (s *shelf) last() *schemas.Commit {
	s.Helper()
	head, err := s.open().Head(s.Context(), 0, 0)
	if err != nil {
		s.Fatal(err)
	}
	return head.Last
}
