package schemas

import "time"

// EventVersion is the format of events, which are messages: nothing of them is stored.
const EventVersion = 1

// Event tells that something else is served from now on. Two with the same index, shard, sequence and epoch_sequence are one.
type Event struct {
	Format        int        `json:"format"`
	Index         string     `json:"index"` // its name
	Shard         int        `json:"shard"`
	Sequence      int64      `json:"sequence"`                 // of the promotion in the index's channel
	Epoch         string     `json:"epoch,omitempty"`          // that is served, absent for none
	EpochSequence int64      `json:"epoch_sequence,omitempty"` // of the promotion in the epoch's own channel; there exactly if Epoch is
	Generation    int64      `json:"generation"`               // of the index, or of the epoch
	Pinned        bool       `json:"pinned,omitempty"`
	Encoder       string     `json:"encoder"` // that queries need
	Dims          int        `json:"dims"`
	Reason        string     `json:"reason"`
	By            string     `json:"by"` // user@host of an operator, or the id of a builder, which has no @
	Promoted      time.Time  `json:"promoted"`
	Snapshot      *Published `json:"snapshot,omitempty"` // absent if the generation was collected before it could be told
}

// Published is what an event says of a generation.
type Published struct {
	Created    time.Time        `json:"created"`
	Checkpoint map[string]int64 `json:"checkpoint"` // partition -> offset: the generation is the log up to here
	Watermark  int64            `json:"watermark"`  // as in the manifest
	LiveRows   int64            `json:"live_rows"`
	DeadRows   int64            `json:"dead_rows"`
	Model      string           `json:"model,omitempty"`  // its id, absent while every search is exact
	Recall     *Estimate        `json:"recall,omitempty"` // of the default plan, absent while it has not been measured
}
