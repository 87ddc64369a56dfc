package verify_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
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
			rows.Vectors = append(rows.Vectors, float32(s.rng.NormFloat64()))
		}
	}
	buildtest.Append(s, s.log, c, rows, stones, []byte("refused"))
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
		return s, m
	}
	t.Run("good", func(t *testing.T) {
		s, m := newBuilt(t)
		r := s.verify()
		if len(r.Faults) > 0 || r.Commits != 3 || r.Generations < 2 || r.Objects < 8 || r.Rows != m.LiveRows {
			t.Errorf("%+v", r)
		}
		found, err := s.log.Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.log.Fence(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.log.Collect(t.Context(), commit.CollectOptions{Found: found, By: "test"}); err != nil {
			t.Fatal(err)
		}
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
		"a commit is gone":       {func(s *shelf, m *schemas.Manifest) { s.replace("commits/000000/00000000000000000900", nil) }, []string{"partition 0", "hole"}},
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

// last is the newest commit.
func (s *shelf) last() *schemas.Commit {
	s.Helper()
	head, err := s.open().Head(s.Context(), 0, 0)
	if err != nil {
		s.Fatal(err)
	}
	return head.Last
}
