package segment

import "cmp"

// Order ranks the versions of one id: the largest is the one that counts. Timestamp is the running maximum of the
// record timestamps of the partition, so within a partition the order agrees with that of offsets.
type Order struct {
	Version   int64 // 0 when the message had none
	Timestamp int64 // milliseconds since the epoch
	Partition int32
	Offset    int64
	Row       int32 // index in the message
}

// Compare returns -1 if o is older than p, 1 if it is newer, and 0 if they are the same row of the same message.
func (o Order) Compare(p Order) int {
	return cmp.Or(
		cmp.Compare(o.Version, p.Version),
		cmp.Compare(o.Timestamp, p.Timestamp),
		cmp.Compare(o.Partition, p.Partition),
		cmp.Compare(o.Offset, p.Offset),
		cmp.Compare(o.Row, p.Row),
	)
}

// Tombstone deletes the versions of ID that are older than it.
type Tombstone struct {
	ID string
	Order
}
