package avx

import (
	"fmt"
	"slices"
	"testing"
)

// eachLevel runs a benchmark at each supported level.
func eachLevel(b *testing.B, run func(b *testing.B, l Level)) {
	for _, l := range Levels() {
		b.Run(l.String(), func(b *testing.B) { run(b, l) })
	}
}

func reportGFLOPS(b *testing.B, flops int) {
	b.ReportMetric(float64(flops)*float64(b.N)/b.Elapsed().Seconds()*1e-9, "GFLOP/s")
}

// reportRows reports nanoseconds per row of a call that reads n rows.
func reportRows(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
}

func BenchmarkDot(b *testing.B) {
	r := newRand()
	for _, dim := range []int{64, 100, 256, 768} {
		x, y := normals(r, dim), normals(r, dim)
		var sum float32
		b.Run(fmt.Sprintf("d=%d", dim), func(b *testing.B) {
			eachLevel(b, func(b *testing.B, l Level) {
				b.SetBytes(int64(8 * dim))
				for b.Loop() {
					sum += Dot(l, x, y)
				}
			})
		})
	}
}

func BenchmarkDotRows(b *testing.B) {
	r := newRand()
	const n = 256
	for _, dim := range []int{32, 64, 128, 256, 768} {
		q, rows, out := normals(r, dim), normals(r, n*dim), make([]float32, n)
		b.Run(fmt.Sprintf("d=%d", dim), func(b *testing.B) {
			eachLevel(b, func(b *testing.B, l Level) {
				b.SetBytes(4 * n * int64(dim))
				for b.Loop() {
					DotRows(l, q, rows, dim, out)
				}
				reportRows(b, n)
			})
		})
	}
}

func BenchmarkAssign(b *testing.B) {
	r := newRand()
	for _, dim := range []int{8, 32, 64, 128, 256} {
		for _, k := range []int{256, 1024, 4096, 16384} {
			n := 480
			rows, p := normals(r, n*dim), Pack(normals(r, k*dim), k, dim, nil)
			best, score := make([]int32, n), make([]float32, n)
			b.Run(fmt.Sprintf("d=%d/K=%d", dim, k), func(b *testing.B) {
				eachLevel(b, func(b *testing.B, l Level) {
					if l == Generic && k > 1024 {
						b.Skip("takes seconds and tells nothing new")
					}
					b.SetBytes(4 * int64(n*dim+k*dim))
					for b.Loop() {
						Assign(l, p, rows, n, dim, best, score)
					}
					reportGFLOPS(b, 2*n*k*dim)
				})
			})
		}
	}
}

// BenchmarkAssignOne is the remainder of a tile, and a query among few.
func BenchmarkAssignOne(b *testing.B) {
	r := newRand()
	for _, c := range []struct{ dim, k int }{{64, 1024}, {256, 1024}, {64, 16384}} {
		row, p := normals(r, c.dim), Pack(normals(r, c.k*c.dim), c.k, c.dim, nil)
		best, score := make([]int32, 1), make([]float32, 1)
		b.Run(fmt.Sprintf("d=%d/K=%d", c.dim, c.k), func(b *testing.B) {
			eachLevel(b, func(b *testing.B, l Level) {
				b.SetBytes(4 * int64(c.k*c.dim))
				for b.Loop() {
					Assign(l, p, row, 1, c.dim, best, score)
				}
			})
		})
	}
}

func BenchmarkScores(b *testing.B) {
	r := newRand()
	for _, c := range []struct{ dim, k int }{{32, 256}, {64, 1024}, {64, 4096}, {256, 4096}} {
		row, p := normals(r, c.dim), Pack(normals(r, c.k*c.dim), c.k, c.dim, nil)
		out := make([]float32, c.k)
		b.Run(fmt.Sprintf("d=%d/K=%d", c.dim, c.k), func(b *testing.B) {
			eachLevel(b, func(b *testing.B, l Level) {
				b.SetBytes(4 * int64(c.k*c.dim))
				for b.Loop() {
					Scores(l, p, row, out)
				}
			})
		})
	}
}

// BenchmarkScoresI4 scores the first 128 dimensions of 8192 centroids, which is 512 KiB, for some queries.
func BenchmarkScoresI4(b *testing.B) {
	const n, dim = 8192, 128
	r := newRand()
	p := PackI4(make([]int8, n*dim), n, dim)
	for _, queries := range []int{1, 4, 8, 16} {
		q, out := make([]int8, queries*dim), make([]int32, queries*n)
		for i := range queries {
			QuantizeQueryI4(q[i*dim:][:dim], randomWords(r, dim))
		}
		b.Run(fmt.Sprintf("queries=%d", queries), func(b *testing.B) {
			eachLevel(b, func(b *testing.B, l Level) {
				b.SetBytes(int64(queries * n * dim / 2))
				for b.Loop() {
					ScoresI4(l, p, q, queries, out)
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(queries), "us/query")
			})
		})
	}
}

// BenchmarkAssignI8 assigns to groups of lists, which a core has in its own caches.
func BenchmarkAssignI8(b *testing.B) {
	const n = 48
	for _, dim := range []int{64, 256} {
		for _, k := range []int{32, 128, 1024} {
			p := PackWeightedI8(make([]int8, k*dim), k, dim, dim, make([]float32, k), nil)
			rows, unit := make([]uint8, n*dim), make([]float32, n)
			best, score := make([]int32, n), make([]float32, n)
			b.Run(fmt.Sprintf("d=%d/K=%d", dim, k), func(b *testing.B) {
				eachLevel(b, func(b *testing.B, l Level) {
					for b.Loop() {
						AssignI8(l, p, rows, n, dim, unit, best, score)
					}
					reportGFLOPS(b, 2*n*dim*k)
				})
			})
		}
	}
}

// BenchmarkAbove chooses from 8192 scores of which none, a tenth and all are found.
func BenchmarkAbove(b *testing.B) {
	const n = 8192
	dots, weight, out := make([]int32, n), make([]float32, n), make([]uint32, n)
	r := newRand()
	for i := range dots {
		dots[i], weight[i] = r.Int32N(1000), 1
	}
	for _, l := range Levels() {
		for _, threshold := range []float32{1000, 900, 0} {
			b.Run(fmt.Sprintf("%v/share=%v", l, 1-threshold/1000), func(b *testing.B) {
				for b.Loop() {
					Above(l, dots, weight, threshold, out)
				}
			})
		}
	}
}

// BenchmarkScanPQ4 scans 4096 rows of which none, some 1 % and all are hits.
func BenchmarkScanPQ4(b *testing.B) {
	r := newRand()
	const nblocks = 64
	for _, m := range []int{16, 32, 64} {
		codes, lut := randomBytes[byte](r, nblocks*16*m), randomBytes[byte](r, 16*m)
		out := make([]uint32, nblocks*BlockRows)
		all := ScanPQ4(Generic, codes, nblocks, 16*m, m, lut, len(out), 0, nil, out)
		few := uint16(0)
		for n := all; n > all/100; few += 8 {
			n = ScanPQ4(Generic, codes, nblocks, 16*m, m, lut, all, few, nil, out)
		}
		for _, c := range []struct {
			name      string
			threshold uint16
		}{{"none", 65535}, {"few", few}, {"all", 0}} {
			b.Run(fmt.Sprintf("m=%d/hits=%s", m, c.name), func(b *testing.B) {
				eachLevel(b, func(b *testing.B, l Level) {
					b.SetBytes(int64(len(codes)))
					for b.Loop() {
						ScanPQ4(l, codes, nblocks, 16*m, m, lut, all, c.threshold, nil, out)
					}
					reportRows(b, all)
				})
			})
		}
	}
}

// BenchmarkScanPQ4Cold scans lists of 96 rows of 64 sub-quantisers at random places of 256 MiB, each announced one ahead.
func BenchmarkScanPQ4Cold(b *testing.B) {
	r := newRand()
	const m, rows = 64, 96
	const size = rows / BlockRows * 16 * m
	codes, lut, out := make([]byte, 1<<28), randomBytes[byte](r, 16*m), make([]uint32, rows)
	for i := 0; i < len(codes); i += 4096 {
		codes[i] = 1
	}
	at := make([]int, 1<<14)
	for i := range at {
		at[i] = r.IntN(len(codes)/size-1) * size
	}
	eachLevel(b, func(b *testing.B, l Level) {
		b.SetBytes(size)
		for i := 0; b.Loop(); i++ {
			list, next := at[i%len(at)], at[(i+1)%len(at)]
			ScanPQ4(l, codes[list:][:size], rows/BlockRows, 16*m, m, lut, rows, 65535, codes[next:], out)
		}
		reportRows(b, rows)
	})
}

// BenchmarkMemory reads 256 MiB in order: what the bytes a second of cold kernels cannot exceed.
func BenchmarkMemory(b *testing.B) {
	v := make([]float32, 1<<26)
	for i := 0; i < len(v); i += 1024 {
		v[i] = 1
	}
	best, err := Best()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4 << 26)
	for b.Loop() {
		MaxAbs(best, v)
	}
}

func BenchmarkDotI8(b *testing.B) {
	r := newRand()
	const n = 256
	for _, dim := range []int{64, 128, 256, 768} {
		q, rows, out := randomWords(r, dim), randomBytes[int8](r, n*dim), make([]int32, n)
		b.Run(fmt.Sprintf("d=%d", dim), func(b *testing.B) {
			eachLevel(b, func(b *testing.B, l Level) {
				b.SetBytes(n * int64(dim))
				for b.Loop() {
					DotI8(l, q, rows, dim, out)
				}
				reportRows(b, n)
			})
		})
	}
}

// BenchmarkDotI8At reads 128 random rows out of 256 MiB per call, other ones each time, so
// that they come from memory.
func BenchmarkDotI8At(b *testing.B) {
	r := newRand()
	const n, stride, total = 128, 768, 1 << 28 / 768
	rows := make([]int8, total*stride)
	for i := 0; i < len(rows); i += 4096 {
		rows[i] = 1
	}
	at, out := make([]uint32, 64*n), make([]int32, n)
	for i := range at {
		at[i] = r.Uint32N(total)
	}
	for _, dim := range []int{64, 256, 768} {
		q := randomWords(r, dim)
		b.Run(fmt.Sprintf("d=%d", dim), func(b *testing.B) {
			eachLevel(b, func(b *testing.B, l Level) {
				b.SetBytes(n * int64(dim))
				for i := 0; b.Loop(); i++ {
					DotI8At(l, q, rows, stride, at[i%64*n:][:n], out)
				}
				reportRows(b, n)
			})
		})
	}
}

func BenchmarkConvert(b *testing.B) {
	r := newRand()
	const n = 4096
	floats, halves, bytes, words := normals(r, n), make([]uint16, n), make([]int8, n), make([]int16, n)
	offset := make([]uint8, n)
	FloatToHalf(Generic, halves, floats)
	for _, c := range []struct {
		name string
		size int // of a value, as the wider of its two types
		run  func(l Level)
	}{
		{"HalfToFloat", 4, func(l Level) { HalfToFloat(l, floats, halves) }},
		{"FloatToHalf", 4, func(l Level) { FloatToHalf(l, halves, floats) }},
		{"QuantizeI8", 4, func(l Level) { QuantizeI8(l, bytes, floats, 40) }},
		{"WidenI8", 2, func(l Level) { WidenI8(l, words, bytes) }},
		{"OffsetI8", 1, func(l Level) { OffsetI8(l, offset, bytes) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			eachLevel(b, func(b *testing.B, l Level) {
				b.SetBytes(int64(c.size * n))
				for b.Loop() {
					c.run(l)
				}
			})
		})
	}
}

// BenchmarkTable makes the bytes of a query's table for 64 sub-quantisers.
func BenchmarkTable(b *testing.B) {
	rows, mins, table := normals(newRand(), 16*64), make([]float32, 64), make([]uint8, 16*64)
	eachLevel(b, func(b *testing.B, l Level) {
		for b.Loop() {
			widest := SubtractMins(l, rows, mins)
			QuantizeU8(l, table, rows, 255/widest)
		}
	})
}

// One sub-quantiser of a batch of rows.
func BenchmarkPickAlong(b *testing.B) {
	const n = 128
	near, along := normals(newRand(), 16*n), normals(newRand(), 16*n)
	weight, part, off, best := slices.Repeat([]float32{0.5}, n), make([]float32, n), make([]float32, n), make([]uint8, n)
	eachLevel(b, func(b *testing.B, l Level) {
		for b.Loop() {
			PickAlong(l, near, along, weight, part, off, best)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
	})
}

func BenchmarkFloats(b *testing.B) {
	v, dst := normals(newRand(), 256), make([]float32, 256)
	for _, l := range Levels() {
		b.Run(fmt.Sprintf("MaxAbs/%v", l), func(b *testing.B) {
			for b.Loop() {
				MaxAbs(l, v)
			}
		})
		b.Run(fmt.Sprintf("Scale/%v", l), func(b *testing.B) {
			for b.Loop() {
				Scale(l, v, v, 1)
			}
		})
		b.Run(fmt.Sprintf("Sub/%v", l), func(b *testing.B) {
			for b.Loop() {
				Sub(l, dst, v, v)
			}
		})
	}
}

// BenchmarkScoresRows compares what can score a batch: rows one by one, in tiles, and in tiles
// whose scores are not stored.
func BenchmarkScoresRows(b *testing.B) {
	r := newRand()
	const n = 128
	for _, dim := range []int{64, 256} {
		for _, k := range []int{64, 256, 1024} {
			rows, p := normals(r, n*dim), Pack(normals(r, k*dim), k, dim, nil)
			out, best, score := make([]float32, n*k), make([]int32, n), make([]float32, n)
			for _, c := range []struct {
				name string
				run  func(l Level)
			}{
				{"Scores", func(l Level) {
					for i := range n {
						Scores(l, p, rows[i*dim:][:dim], out[i*k:])
					}
				}},
				{"ScoresRows", func(l Level) { ScoresRows(l, p, rows, n, dim, out, k) }},
				{"Assign", func(l Level) { Assign(l, p, rows, n, dim, best, score) }},
			} {
				b.Run(fmt.Sprintf("d=%d/K=%d/%s", dim, k, c.name), func(b *testing.B) {
					eachLevel(b, func(b *testing.B, l Level) {
						for b.Loop() {
							c.run(l)
						}
						reportGFLOPS(b, 2*n*k*dim)
					})
				})
			}
		}
	}
}
