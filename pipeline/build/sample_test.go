package build

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
)

// A sample is as many live rows as are wanted, each once and in order, none that is held out; the same each time. It is outside of the heap, and smaller where
// the cache has no room.
func TestSample(t *testing.T) {
	const parts, rows = 3, 20_000
	w := newWorld(t, 1)
	log := w.open()
	spec := log.Spec()
	dim := spec.Dim()
	j, live := &job{}, 0
	for p := range parts {
		r := segment.NewRows(spec)
		for i := range rows {
			r.IDs = append(r.IDs, strconv.Itoa(p*rows+i))
			r.Orders = append(r.Orders, segment.Order{Offset: int64(i)})
			v := make([]float32, dim)
			v[0], v[1] = 1, float32(p*rows+i+1)
			r.AppendFloats(avx.Generic, v)
			r.Attributes[0].AppendNull()
		}
		body, err := segment.Write(spec, nil, avx.Generic, r)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := segment.OpenSegment(spec, strconv.Itoa(p), body)
		if err != nil {
			t.Fatal(err)
		}
		in := jobInput{part: &heldPart{Part: &replica.Part{Part: opened}}, skip: roaring.New()}
		for i := range rows {
			if i%5 == p {
				in.skip.AddInt(i)
			} else if !recall.HeldOut(opened.IDAt(i)) {
				live++
			}
		}
		j.inputs = append(j.inputs, in)
	}
	draw := func(cacheBytes int64, most int) (sample, unseen []float32, err error) {
		cache, err := store.NewCache(t.TempDir(), store.NewMemory(), store.CacheOptions{MaxBytes: cacheBytes})
		if err != nil {
			t.Fatal(err)
		}
		b := &Builder{o: Options{Log: log, Cache: cache, Level: avx.Generic}}
		var memory scratch
		t.Cleanup(memory.release)
		return b.sample(j, most, &memory)
	}
	size := int64(dim) * 4
	for _, tt := range []struct {
		cache      int64
		most, want int
	}{
		{0, 30_000, 30_000},
		{0, 100_000, live},
		{30_000*size - 1, 30_000, 15_000},
	} {
		sample, unseen, err := draw(tt.cache, tt.most)
		if err != nil {
			t.Fatal(err)
		}
		if n := (len(sample) + len(unseen)) / dim; n != tt.want || len(unseen) == 0 || len(unseen)/dim > min(2*freshMost, n/8) {
			t.Errorf("%+v: %d rows and %d unseen", tt, len(sample)/dim, len(unseen)/dim)
		}
		var last float32
		for i := range len(sample) / dim {
			tangent := sample[i*dim+1] / sample[i*dim] // the number of the row, and one
			if tangent <= last {
				t.Fatalf("%+v: row %d is %v after %v", tt, i, tangent, last)
			}
			last = tangent
		}
		again, others, err := draw(tt.cache, tt.most)
		if err != nil || !slices.Equal(sample, again) || !slices.Equal(unseen, others) {
			t.Errorf("%+v: another sample the second time, error %v", tt, err)
		}
	}
	if _, _, err := draw(1000, 30_000); !errors.Is(err, store.ErrCacheFull) {
		t.Errorf("a cache of 1000 bytes: error %v", err)
	}
}
