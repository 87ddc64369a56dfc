package coarse

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

var (
	assignLists = flag.String("lists", "1024", "numbers of lists of BenchmarkAssignLists, by commas")
	assignBatch = flag.Int("batch", BandRows, "how many rows BenchmarkAssignLists assigns at a time")
)

// BenchmarkAssignLists measures what many lists cost: training them on 16 rows each, and assigning other rows to them, of
// 64 dimensions, a band or less at a time, of which the fastest counts too: others may use the machine. It says how many rows come to
// the list that is nearest.
//
//	go test -run xxx -bench AssignLists -benchtime 200x -timeout 1h ./index/coarse -args -lists 1024,8192,16384,65536
func BenchmarkAssignLists(b *testing.B) {
	const dim, perList, n = 64, 16, BandRows
	level, err := avx.Best()
	if err != nil {
		b.Fatal(err)
	}
	for _, text := range strings.Split(*assignLists, ",") {
		nlist, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("nlist=%d", nlist), func(b *testing.B) {
			x := topics(perList*nlist+n, dim, schemas.Cosine, 1)
			rows := x[perList*nlist*dim:]
			started := time.Now()
			q, _, err := Train(context.Background(), schemas.Cosine, x, perList*nlist, dim, Options{NList: nlist, Dims: dim, Level: level, Seed: 1})
			if err != nil {
				b.Fatal(err)
			}
			trained := time.Since(started)
			lists, s := make([]int32, n), &Scratch{}
			best := time.Hour
			for b.Loop() {
				started := time.Now()
				for start := 0; start < n; start += *assignBatch {
					end := min(start+*assignBatch, n)
					q.Assign(level, rows[start*dim:], end-start, lists[start:end], nil, s)
				}
				best = min(best, time.Since(started))
			}
			nearest := make([]int32, n)
			avx.Assign(level, pack(true, q.prefixes(), dim), rows, n, dim, nearest, make([]float32, n))
			same := 0
			for i, l := range nearest {
				if lists[i] == l {
					same++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
			b.ReportMetric(float64(best.Nanoseconds())/n, "best-ns/row")
			b.ReportMetric(float64(same)/n, "nearest")
			b.ReportMetric(trained.Seconds(), "train-s")
			b.ReportMetric(float64(len(q.groups)-1), "groups")
			b.ReportMetric(float64(q.nlist), "lists")
		})
	}
}
