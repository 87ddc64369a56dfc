package opq_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
)

// encodeAlong encodes n residuals of as many vectors, neither of which is rotated.
func encodeAlong(q *opq.Quantizer, level avx.Level, vectors, residuals []float32, n int) []byte {
	dim, size, s := q.Dim(), q.CodeBytes(), &opq.Scratch{}
	codes := make([]byte, n*size)
	x, r := make([]float32, opq.Batch*dim), make([]float32, opq.Batch*dim)
	for start := 0; start < n; start += opq.Batch {
		rows := min(opq.Batch, n-start)
		q.RotateRows(level, x, vectors[start*dim:], rows)
		q.RotateRows(level, r, residuals[start*dim:], rows)
		q.EncodeAlong(level, x, rows, s, opq.Residuals{Values: r, Codes: codes[start*size:]})
	}
	return codes
}

// withCentroids returns the vectors that leave the residuals: each has one of a few long centroids.
func withCentroids(residuals []float32, n, dim int) []float32 {
	r := rand.New(rand.NewPCG(7, 7))
	centroids := make([]float32, 20*dim)
	for i := range centroids {
		centroids[i] = float32(0.1 * r.NormFloat64())
	}
	x := slices.Clone(residuals)
	for i := range x {
		x[i] += centroids[i/dim%20*dim+i%dim]
	}
	return x
}

// errorsOf are the squared errors of a code: all of it, and what is along the vector.
func errorsOf(q *opq.Quantizer, x, r []float32, code []byte) (all, along float64) {
	decoded := make([]float32, q.Dim())
	q.Decode(decoded, code)
	var product, square float64
	for d, v := range decoded {
		e := float64(r[d]) - float64(v)
		all += e * e
		product += e * float64(x[d])
		square += float64(x[d]) * float64(x[d])
	}
	return all, product * product / square
}

// No code has more of the loss than the nearest one has, and what is along the vector falls by far.
func TestEncodeAlongHasLessLoss(t *testing.T) {
	const n = 1000
	for _, m := range []int{3, 8, 16, 21} {
		ladder := mrl.Ladder{16, 64}
		r := residuals(n, 64, 1)
		q, x := train(t, r, n, ladder, opq.Options{M: m, Iterations: 1}), withCentroids(r, n, 64)
		nearest := make([]byte, n*q.CodeBytes())
		q.Encode(avx.Generic, r, n, nearest, &opq.Scratch{})
		codes := encodeAlong(q, avx.Generic, x, r, n)
		worse := 0
		var losses, along [2]float64
		for i := range n {
			var loss [2]float64
			for j, c := range [2][]byte{nearest, codes} {
				all, a := errorsOf(q, x[i*64:][:64], r[i*64:][:64], c[i*q.CodeBytes():][:q.CodeBytes()])
				loss[j] = all + a // eta is 2
				losses[j] += loss[j]
				along[j] += a
			}
			if loss[1] > loss[0]*(1+1e-5) {
				worse++
			}
		}
		if losses[1] >= losses[0] || along[1] > along[0]*0.9 || worse > 0 {
			t.Errorf("m %d: loss %.4f, %.4f of the nearest codes; along %.4f, %.4f; %d worse", m, losses[1], losses[0], along[1], along[0], worse)
		}
	}
}

// All levels make nearly the same codes, each the same of a residual wherever it is in a batch, and of several at once.
func TestEncodeAlongDoesNotDependOnNeighbours(t *testing.T) {
	ladder := mrl.Ladder{8, 24, 65}
	const n = opq.Batch + 29
	r := residuals(n, 65, 1)
	q, x := train(t, r, n, ladder, opq.Options{M: 17, Iterations: 1}), withCentroids(r, n, 65)
	size, want := q.CodeBytes(), encodeAlong(q, avx.Generic, x, r, n)
	for _, level := range avx.Levels() {
		got := encodeAlong(q, level, x, r, n)
		differ := 0
		for i, c := range got {
			if c != want[i] {
				differ++
			}
		}
		if differ > n*size/50 {
			t.Errorf("%v: %d of %d bytes differ from generic ones", level, differ, n*size)
		}
		for i := range n {
			if alone := encodeAlong(q, level, x[i*65:], r[i*65:], 1); !bytes.Equal(alone, got[i*size:][:size]) {
				t.Fatalf("%v: row %d: %x alone, %x", level, i, alone, got[i*size:][:size])
			}
		}
		rotatedX, rotatedR, negative := make([]float32, 40*65), make([]float32, 40*65), make([]float32, 40*65)
		q.RotateRows(level, rotatedX, x, 40)
		q.RotateRows(level, rotatedR, r, 40)
		avx.Scale(level, negative, rotatedR, -1)
		var codes [3][]byte
		for i := range codes {
			codes[i] = bytes.Repeat([]byte{0xff}, 40*size)
		}
		s := &opq.Scratch{}
		q.EncodeAlong(level, rotatedX, 40, s, opq.Residuals{Values: negative, Codes: codes[0]}, opq.Residuals{Values: rotatedR, Codes: codes[1]})
		q.EncodeAlong(level, rotatedX, 40, s, opq.Residuals{Values: negative, Codes: codes[2]})
		if !bytes.Equal(codes[1], got[:40*size]) || !bytes.Equal(codes[0], codes[2]) {
			t.Errorf("%v: codes of two at once are not those of each", level)
		}
	}
}

// What has no direction, or one that float32 has no room for, gets the nearest code.
func TestEncodeAlongWithoutADirection(t *testing.T) {
	ladder := mrl.Ladder{8, 32}
	const n = 50
	r := residuals(n, 32, 1)
	q := train(t, r, n, ladder, opq.Options{M: 8, Iterations: 1})
	want := make([]byte, n*q.CodeBytes())
	for _, length := range []float32{0, 1e-30, 1e25, 1e38} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			x := make([]float32, n*32)
			for i := range x {
				x[i] = length * float32(math.Sin(float64(i)))
			}
			for _, level := range avx.Levels() {
				q.Encode(level, r, n, want, &opq.Scratch{})
				if got := encodeAlong(q, level, x, r, n); !bytes.Equal(got, want) {
					t.Errorf("%v: not the nearest codes", level)
				}
			}
		})
	}
}

func BenchmarkEncodeAlong(b *testing.B) {
	ladder := mrl.Ladder{64, 128, 256}
	const n = opq.Batch
	r := residuals(2000, 256, 1)
	q := train(b, r, 2000, ladder, opq.Options{Iterations: 1})
	codes, s := make([]byte, n*q.CodeBytes()), &opq.Scratch{}
	for _, level := range avx.Levels() {
		b.Run(level.String(), func(b *testing.B) {
			for b.Loop() {
				q.EncodeAlong(level, r[n*256:], n, s, opq.Residuals{Values: r, Codes: codes})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
		})
	}
}
