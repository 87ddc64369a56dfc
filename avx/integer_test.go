package avx

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// scanSlow is ScanPQ4 as its comment defines it.
func scanSlow(codes []byte, blockStride, m int, lut []byte, count int, threshold uint16) []uint32 {
	var hits []uint32
	for row := range count {
		sum := 0
		for s := range m {
			pair := codes[row/32*blockStride+16*s+row%16]
			if row%32 < 16 {
				sum += int(lut[16*s+int(pair%16)])
			} else {
				sum += int(lut[16*s+int(pair/16)])
			}
		}
		if sum >= int(threshold) {
			hits = append(hits, uint32(sum<<16|row))
		}
	}
	return hits
}

func checkScan(t *testing.T, l Level, m *memory, codes []byte, nblocks, blockStride, subs int, lut []byte, count int, threshold uint16) {
	t.Helper()
	codes, lut = put(m, 0, codes), put(m, 1, lut)
	out := space[uint32](m, 2, nblocks*BlockRows)
	n := ScanPQ4(l, codes, nblocks, blockStride, subs, lut, count, threshold, codes, out)
	want := scanSlow(codes, blockStride, subs, lut, count, threshold)
	if !slices.Equal(out[:n], want) {
		t.Fatalf("nblocks=%d stride=%d m=%d count=%d threshold=%d: got %x, want %x", nblocks, blockStride, subs, count, threshold, out[:n], want)
	}
}

func TestScanPQ4(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for nblocks := range 4 {
			for _, subs := range []int{0, 2, 4, 6, 16, 30, 32, 64, 256} {
				for _, gap := range []int{0, 1, 32} {
					stride := 16*subs + gap
					codes := randomBytes[byte](r, max(0, nblocks-1)*stride+16*subs)
					lut := randomBytes[byte](r, 16*subs)
					mean := uint16(subs * 128)
					for _, count := range []int{nblocks * 32, r.IntN(nblocks*32 + 1), max(0, nblocks*32-32), max(0, nblocks*32-31), max(0, nblocks*32-1)} {
						for _, threshold := range []uint16{0, 1, mean, mean + mean/8, 65280, 65535} {
							checkScan(t, l, m, codes, nblocks, stride, subs, lut, count, threshold)
						}
					}
				}
			}
		}
	})
}

func TestScanPQ4ReachesTheLargestSums(t *testing.T) {
	r := newRand()
	lut := slices.Repeat([]byte{255}, 16*256)
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for subs := 250; subs <= 256; subs += 2 {
			codes := randomBytes[byte](r, 2*16*subs)
			for _, threshold := range []int{255*subs - 1, 255 * subs, min(65535, 255*subs+1)} {
				checkScan(t, l, m, codes, 2, 16*subs, subs, lut[:16*subs], 64, uint16(threshold))
			}
		}
	})
}

// The largest scan: row indices fill 16 bits.
func TestScanPQ4OfAllRows(t *testing.T) {
	r := newRand()
	codes, lut := randomBytes[byte](r, 2048*32), randomBytes[byte](r, 32)
	out := make([]uint32, 1<<16)
	for _, l := range Levels() {
		for _, threshold := range []uint16{0, 300} {
			n := ScanPQ4(l, codes, 2048, 32, 2, lut, 1<<16, threshold, nil, out)
			if want := scanSlow(codes, 32, 2, lut, 1<<16, threshold); !slices.Equal(out[:n], want) {
				t.Errorf("%v threshold=%d: got %d hits, want %d, or other ones", l, threshold, n, len(want))
			}
		}
	}
}

// A query may scan a shorter level of the codes of a longer one.
func TestScanPQ4OfAPrefix(t *testing.T) {
	r := newRand()
	codes, lut := randomBytes[byte](r, 3*16*16), randomBytes[byte](r, 16*16)
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for subs := 0; subs <= 16; subs += 2 {
			checkScan(t, l, m, codes, 3, 16*16, subs, lut[:16*subs], 90, uint16(subs*130))
		}
	})
}

// The largest values of both signs are among those tried: sums must not saturate. The most centroids are more than several
// queries go over at a time.
func TestScoresI4(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for _, n := range []int{0, 1, 31, 32, 33, 64, 100, 129, 500} {
			for _, dim := range []int{0, 1, 4, 5, 8, 31, 33, 64, 130} {
				for _, queries := range []int{0, 1, 3} {
					for _, extreme := range []bool{false, true} {
						rows, query := make([]int8, n*dim), make([]int16, queries*dim)
						for i := range rows {
							if rows[i] = int8(r.IntN(2*MaxI4+1) - MaxI4); extreme {
								rows[i] = int8(MaxI4 - 2*MaxI4*r.IntN(2))
							}
						}
						for i := range query {
							query[i] = int16(r.IntN(2*MaxQueryI4+1) - MaxQueryI4)
							if extreme || i%dim == 0 { // so that nothing is scaled
								query[i] = int16(MaxQueryI4 - 2*MaxQueryI4*(i/dim%2))
							}
						}
						p := PackI4(rows, n, dim)
						p.nibbles = put(m, 0, p.nibbles)
						q, out := space[int8](m, 1, queries*p.Dim()), space[int32](m, 2, queries*n)
						for i := range queries {
							QuantizeQueryI4(q[i*p.Dim():][:p.Dim()], query[i*dim:][:dim])
						}
						ScoresI4(l, p, q, queries, out)
						for i, got := range out {
							want := int32(0)
							for d, x := range query[i/n*dim:][:dim] {
								want += int32(x) * int32(rows[i%n*dim+d])
							}
							if got != want {
								t.Fatalf("n=%d dim=%d: score %d of query %d is %d, want %d", n, dim, i%n, i/n, got, want)
							}
						}
					}
				}
			}
		}
	})
}

func TestQuantizeQueryI4(t *testing.T) {
	for _, tt := range []struct {
		q    []int16
		want []int8
	}{
		{nil, []int8{0, 0, 0, 0}},
		{[]int16{0, 0, 0, 0}, []int8{0, 0, 0, 0}},
		{[]int16{100, -100, 50}, []int8{127, -127, 64, 0}},
		{[]int16{math.MaxInt16, math.MinInt16, 0, 260}, []int8{127, -127, 0, 1}},
	} {
		got := []int8{9, 9, 9, 9}
		if QuantizeQueryI4(got, tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%v is %v, want %v", tt.q, got, tt.want)
		}
	}
}

func aboveSlow(dots []int32, weight []float32, threshold float32) []uint32 {
	var found []uint32
	for i := range dots {
		if x := float32(dots[i]) * weight[i]; x >= threshold {
			found = append(found, uint32(i))
		}
	}
	return found
}

func TestAbove(t *testing.T) {
	r := newRand()
	special := []float32{0, -1, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32}
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 50 {
			dots, weight := make([]int32, n), make([]float32, n)
			for i := range dots {
				dots[i], weight[i] = r.Int32()-1<<30, r.Float32()
				if r.IntN(10) == 0 {
					weight[i] = special[r.IntN(len(special))]
				}
			}
			dots, weight = put(m, 0, dots), put(m, 1, weight)
			out := space[uint32](m, 2, n)
			for _, threshold := range append(special, 1<<28, -1<<28) {
				got := out[:Above(l, dots, weight, threshold, out)]
				if want := aboveSlow(dots, weight, threshold); !slices.Equal(got, want) {
					t.Fatalf("n=%d threshold=%v: got %v, want %v", n, threshold, got, want)
				}
			}
		}
	})
}

// More than one call of the kernel takes.
func TestAboveOfMany(t *testing.T) {
	const n = 1<<18 + 1<<16 + 3
	dots, weight, out := make([]int32, n), make([]float32, n), make([]uint32, n)
	for i := range dots {
		dots[i], weight[i] = int32(i%97), 1
	}
	for _, l := range Levels() {
		got := out[:Above(l, dots, weight, 95, out)]
		if want := aboveSlow(dots, weight, 95); !slices.Equal(got, want) {
			t.Errorf("%v: %d found, want %d, or other ones", l, len(got), len(want))
		}
	}
}

func FuzzScanPQ4(f *testing.F) {
	f.Add(uint64(1), uint8(2), uint8(8), uint8(0), uint16(100), uint16(900), uint8(255))
	f.Add(uint64(2), uint8(1), uint8(255), uint8(3), uint16(1), uint16(65535), uint8(0))
	f.Fuzz(func(t *testing.T, seed uint64, blocks, subs, gap uint8, count, threshold uint16, top uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		nblocks, m := int(blocks)%8, int(subs)/2*2+2
		stride := 16*m + int(gap)
		codes := randomBytes[byte](r, nblocks*stride)
		lut := randomBytes[byte](r, 16*m)
		for i := range lut {
			lut[i] = max(lut[i], top)
		}
		rows := min(int(count), nblocks*BlockRows)
		want := scanSlow(codes, stride, m, lut, rows, threshold)
		out := make([]uint32, nblocks*BlockRows)
		for _, l := range Levels() {
			if n := ScanPQ4(l, codes, nblocks, stride, m, lut, rows, threshold, codes, out); !slices.Equal(out[:n], want) {
				t.Errorf("%v: got %x, want %x", l, out[:n], want)
			}
		}
	})
}

// dotI8Slow is exact, then cut to 32 bits.
func dotI8Slow(q []int16, row []int8) int32 {
	var sum int64
	for i, x := range q {
		sum += int64(x) * int64(row[i])
	}
	return int32(sum)
}

func checkDotI8(t *testing.T, l Level, m *memory, q []int16, rows []int8, stride, n int, at []uint32) {
	t.Helper()
	q, rows = put(m, 0, q), put(m, 1, rows)
	out := space[int32](m, 2, n)
	DotI8(l, q, rows, stride, out)
	for i, got := range out {
		if want := dotI8Slow(q, rows[i*stride:]); got != want {
			t.Fatalf("DotI8 dim=%d stride=%d row %d of %d: got %d, want %d", len(q), stride, i, n, got, want)
		}
	}
	at, out = put(m, 3, at), space[int32](m, 2, len(at))
	DotI8At(l, q, rows, stride, at, out)
	for i, got := range out {
		if want := dotI8Slow(q, rows[int(at[i])*stride:]); got != want {
			t.Fatalf("DotI8At dim=%d stride=%d row %d, %d of %d: got %d, want %d", len(q), stride, at[i], i, len(at), got, want)
		}
	}
}

func TestDotI8(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for dim := range 140 {
			for _, n := range []int{0, 1, 2, 3, 4, 5, 8, 30} {
				stride := dim + (dim+n)%4
				rows := randomBytes[int8](r, max(0, n-1)*stride+dim)
				var at []uint32
				if n > 0 {
					at = make([]uint32, 2*n-1)
					for i := range at {
						at[i] = uint32(r.IntN(n))
					}
				}
				checkDotI8(t, l, m, randomWords(r, dim), rows, stride, n, at)
			}
		}
	})
}

func TestDotI8OfExtremes(t *testing.T) {
	const n = 5
	at := []uint32{4, 0, 4, 1, 2, 3, 3}
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for _, dim := range []int{1, 15, 16, 17, 48, 1000, 1024} { // 1024 and more overflow
			for _, x := range []int16{math.MinInt16, math.MaxInt16} {
				for _, y := range []int8{math.MinInt8, math.MaxInt8} {
					checkDotI8(t, l, m, slices.Repeat([]int16{x}, dim), slices.Repeat([]int8{y}, n*dim), dim, n, at)
				}
			}
		}
	})
}

// More elements than one call of a kernel takes.
func TestDotI8InSeveralCalls(t *testing.T) {
	r := newRand()
	const dim, n = 257, 2001
	q, rows := randomWords(r, dim), randomBytes[int8](r, n*dim)
	at := make([]uint32, n)
	for i := range at {
		at[i] = uint32(n - 1 - i)
	}
	out, outAt := make([]int32, n), make([]int32, n)
	for _, l := range Levels() {
		DotI8(l, q, rows, dim, out)
		DotI8At(l, q, rows, dim, at, outAt)
		for i := range out {
			want := dotI8Slow(q, rows[i*dim:])
			if out[i] != want || outAt[n-1-i] != want {
				t.Fatalf("%v row %d: got %d and %d, want %d", l, i, out[i], outAt[n-1-i], want)
			}
		}
	}
}

func FuzzDotI8(f *testing.F) {
	f.Add(uint64(1), uint16(64), uint8(9), uint8(0))
	f.Add(uint64(2), uint16(17), uint8(3), uint8(5))
	f.Fuzz(func(t *testing.T, seed uint64, dims uint16, n, gap uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		dim := int(dims) % 2048
		stride := dim + int(gap)
		q, rows := randomWords(r, dim), randomBytes[int8](r, int(n)*stride)
		at := make([]uint32, n)
		for i := range at {
			at[i] = r.Uint32N(uint32(n))
		}
		out := make([]int32, n)
		for _, l := range Levels() {
			DotI8(l, q, rows, stride, out)
			for i, got := range out {
				if want := dotI8Slow(q, rows[i*stride:]); got != want {
					t.Errorf("%v DotI8 row %d: got %d, want %d", l, i, got, want)
				}
			}
			DotI8At(l, q, rows, stride, at, out)
			for i, got := range out {
				if want := dotI8Slow(q, rows[int(at[i])*stride:]); got != want {
					t.Errorf("%v DotI8At %d: got %d, want %d", l, i, got, want)
				}
			}
		}
	})
}

// All halves, at every place of a vector.
func TestHalfToFloatOfAllHalves(t *testing.T) {
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		src := space[uint16](m, 0, 1<<16+3)
		for i := range src {
			src[i] = uint16(i)
		}
		dst := space[float32](m, 1, len(src))
		HalfToFloat(l, dst, src)
		for i, got := range dst {
			if want := halfSlow(src[i]); math.Float32bits(got) != math.Float32bits(want) {
				t.Fatalf("%#04x: got %v (%#x), want %v (%#x)", src[i], got, math.Float32bits(got), want, math.Float32bits(want))
			}
		}
	})
}

// halfSlow is the definition of binary16.
func halfSlow(h uint16) float32 {
	sign, exponent, fraction := 1.0, int(h>>10&31), float64(h&1023)
	if h&0x8000 != 0 {
		sign = -1
	}
	switch exponent {
	case 31:
		if fraction != 0 { // quiet, with sign and payload
			return math.Float32frombits(uint32(h&0x8000)<<16 | 0x7fc00000 | uint32(h&1023)<<13)
		}
		return float32(math.Inf(int(sign)))
	case 0:
		return float32(math.Copysign(math.Ldexp(fraction, -24), sign))
	default:
		return float32(sign * math.Ldexp(1024+fraction, exponent-25))
	}
}

// Between neighbouring halves, all floats go to the nearer one and the middle to the even.
func TestFloatToHalfRoundsToNearestEven(t *testing.T) {
	var src []float32
	var want []uint16
	add := func(f float32, h uint16) {
		src, want = append(src, f, -f), append(want, h, h|0x8000)
	}
	for h := uint16(0); h < 0x7c00; h++ {
		this, next := halfSlow(h), halfSlow(h+1)
		if h == 0x7bff {
			next = 1 << 16 // where the next half would be
		}
		middle := (this + next) / 2
		add(this, h)
		add(math.Nextafter32(this, next), h)
		add(math.Nextafter32(middle, this), h)
		add(middle, h+h&1)
		add(math.Nextafter32(middle, next), h+1)
		add(math.Nextafter32(next, this), h+1)
	}
	add(math.SmallestNonzeroFloat32, 0)
	add(math.MaxFloat32, 0x7c00)
	add(float32(math.Inf(1)), 0x7c00)
	for _, l := range Levels() {
		dst := make([]uint16, len(src))
		FloatToHalf(l, dst, src)
		for i, got := range dst {
			if got != want[i] {
				t.Fatalf("%v %v: got %#04x, want %#04x", l, src[i], got, want[i])
			}
		}
	}
}

func TestFloatToHalfKeepsNaN(t *testing.T) {
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for payload := uint32(1); payload < 1<<23; payload = payload*3 + 1 {
			for _, sign := range []uint32{0, 1 << 31} {
				src := space[float32](m, 0, 9) // 8 in a vector and one in the tail
				for i := range src {
					src[i] = math.Float32frombits(sign | 0x7f800000 | payload)
				}
				dst := space[uint16](m, 1, len(src))
				FloatToHalf(l, dst, src)
				want := uint16(sign>>16) | 0x7e00 | uint16(payload>>13)
				for i, got := range dst {
					if got != want {
						t.Fatalf("payload %#x, place %d: got %#04x, want %#04x", payload, i, got, want)
					}
				}
			}
		}
	})
}

func TestConversionsOfAllLengths(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 140 {
			floats := put(m, 0, normals(r, n))
			halves := space[uint16](m, 1, n)
			FloatToHalf(l, halves, floats)
			back := space[float32](m, 2, n)
			HalfToFloat(l, back, halves)
			bytes := space[int8](m, 3, n)
			QuantizeI8(l, bytes, floats, 50)
			for i, f := range floats {
				if want := floatToHalf(f); halves[i] != want || back[i] != halfSlow(want) {
					t.Fatalf("n=%d %v: got half %#04x and back %v, want %#04x", n, f, halves[i], back[i], want)
				}
				if want := int8(max(-127, min(127, math.RoundToEven(float64(f*50))))); bytes[i] != want {
					t.Fatalf("n=%d %v: got int8 %d, want %d", n, f, bytes[i], want)
				}
			}
		}
	})
}

func TestQuantizeI8(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	cases := []struct {
		src, inv float32
		want     int8
	}{
		{0, 1, 0}, {0.5, 1, 0}, {1.5, 1, 2}, {2.5, 1, 2}, {-0.5, 1, 0}, {-1.5, 1, -2}, {-2.5, 1, -2},
		{0.49999997, 1, 0}, {0.50000006, 1, 1}, {126.5, 1, 126}, {126.50001, 1, 127}, {127.5, 1, 127},
		{128, 1, 127}, {-127.5, 1, -127}, {-128, 1, -127}, {1e30, 1e30, 127}, {-1e30, 1e30, -127},
		{inf, 1, 127}, {-inf, 1, -127}, {nan, 1, 0}, {inf, 0, 0}, {3, nan, 0}, {2, 0.25, 0}, {6, 0.25, 2},
		{math.MaxInt32, 1, 127}, {math.MinInt32, 1, -127}, {math.SmallestNonzeroFloat32, 1, 0},
	}
	for _, l := range Levels() {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%v/%v*%v", l, c.src, c.inv), func(t *testing.T) {
				for n := 1; n < 70; n++ {
					dst := make([]int8, n)
					QuantizeI8(l, dst, slices.Repeat([]float32{c.src}, n), c.inv)
					if i := slices.IndexFunc(dst, func(v int8) bool { return v != c.want }); i >= 0 {
						t.Fatalf("n=%d at %d: got %d, want %d", n, i, dst[i], c.want)
					}
				}
			})
		}
	}
}

// All bytes, at every place of a vector.
func TestWidenI8AndOffsetI8(t *testing.T) {
	check := func(t *testing.T, words []int16, bytes []uint8, src []int8) {
		t.Helper()
		for i, v := range src {
			if words[i] != int16(v) || bytes[i] != uint8(int(v)+QueryOffset) {
				t.Fatalf("value %d of %d: of %d got word %d and byte %d", i, len(src), v, words[i], bytes[i])
			}
		}
	}
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 1<<8 + 70 {
			src, words, bytes := space[int8](m, 0, n), space[int16](m, 1, n), space[uint8](m, 2, n)
			for i := range src {
				src[i] = int8(i + n)
			}
			WidenI8(l, words, src)
			OffsetI8(l, bytes, src)
			check(t, words, bytes, src)
		}
	})
	src := randomBytes[int8](newRand(), callElementsOfTest)
	n := len(src)
	for _, l := range Levels() {
		words, bytes := make([]int16, n+1), make([]uint8, n+1)
		WidenI8(l, words, src)
		OffsetI8(l, bytes, src)
		check(t, words, bytes, src)
		if words[n] != 0 || bytes[n] != 0 {
			t.Errorf("%v: written beyond src", l)
		}
	}
}

func TestQuantizeU8(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 100 {
			values := make([]float32, n)
			for i := range values {
				values[i] = r.Float32() * 1.1
			}
			src, dst := put(m, 0, values), space[uint8](m, 1, n)
			QuantizeU8(l, dst, src, 255)
			for i, v := range src {
				product := v * 255
				if want := uint8(min(product+0.5, 255)); dst[i] != want {
					t.Fatalf("n=%d: %v is %d, want %d", n, v, dst[i], want)
				}
			}
		}
	})
}
