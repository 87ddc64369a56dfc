package source

import (
	"fmt"
	"testing"

	"github.com/segmentio/kafka-go"
)

// The vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2.
func TestMurmur2AsInJava(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitionOf(t *testing.T) {
	for _, tc := range []struct {
		id         string
		partitions int
		want       int
	}{
		{"21", 12, (-973932308 & 0x7fffffff) % 12},
		{"foobar", 7, (-790332482 & 0x7fffffff) % 7},
		{"anything", 1, 0},
		{"anything", 0, 0},
	} {
		if got := PartitionOf(tc.id, tc.partitions); got != tc.want {
			t.Errorf("PartitionOf(%q, %d) = %d, want %d", tc.id, tc.partitions, got, tc.want)
		}
	}
}

// The library's balancer is another port of the same Java code.
func TestPartitionOfAgreesWithLibrary(t *testing.T) {
	all := make([]int, 31)
	for i := range all {
		all[i] = i
	}
	for i := range 500 {
		id := fmt.Sprintf("%x-é%d", i*i*i, i)
		want := kafka.Murmur2Balancer{Consistent: true}.Balance(kafka.Message{Key: []byte(id)}, all...)
		if got := PartitionOf(id, len(all)); got != want {
			t.Errorf("PartitionOf(%q, %d) = %d, want %d", id, len(all), got, want)
		}
	}
}

func BenchmarkPartitionOf(b *testing.B) {
	for b.Loop() {
		PartitionOf("0193a7c1-3c4d-7e5f-8a9b-0c1d2e3f4a5b", 64)
	}
}
