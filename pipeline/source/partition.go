package source

// PartitionOf returns the partition of an id among the given number of
// partitions, at least 1: the one that Kafka's Java producer chooses by default
// for a record with that key (toPositive(murmur2(key)) mod partitions), so rows
// from both meet in one partition.
func PartitionOf(id string, partitions int) int {
	if partitions <= 1 {
		return 0
	}
	return int((murmur2(id) & 0x7fffffff) % uint32(partitions))
}

// murmur2 is Kafka's variant of MurmurHash2 (org.apache.kafka.common.utils.Utils)
// over the bytes of s.
func murmur2(s string) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(s))
	for ; len(s) >= 4; s = s[4:] {
		k := uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(s) {
	case 3:
		h ^= uint32(s[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(s[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(s[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
