package ingest

import (
	"errors"
	"fmt"

	"github.com/adastream/adastream/schemas/arrowguard"
)

// Limits bound what one message may claim. The zero value works.
type Limits struct {
	MaxMessage      int   // bytes of a message, and of its bad rows one by one, else it is quarantined whole; 0 is 64 MiB
	MaxMetadata     int   // bytes of the metadata of a schema, batch or dictionary; 0 is 1 MiB
	MaxUncompressed int64 // bytes of all buffers of a message after decompression; 0 is 256 MiB
	MaxRows         int   // rows of a message; 0 is 1,048,576
	MaxColumns      int   // fields of the schema, the fields inside lists included; 0 is 256
	MaxBatches      int   // record and dictionary batches of a message; 0 is 1,024
	MaxRowFaults    int   // bad rows of a message that are quarantined one by one; with more, the message is quarantined whole; 0 is 4,096
}

// Validate joins all faults of l.
func (l Limits) Validate() error {
	var faults []error
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"message bytes", int64(l.MaxMessage)},
		{"metadata bytes", int64(l.MaxMetadata)},
		{"uncompressed bytes", l.MaxUncompressed},
		{"rows", int64(l.MaxRows)},
		{"columns", int64(l.MaxColumns)},
		{"batches", int64(l.MaxBatches)},
		{"row faults", int64(l.MaxRowFaults)},
	} {
		if limit.value < 0 {
			faults = append(faults, fmt.Errorf("limit of %s: %d, allowed: positive, or 0 for the default", limit.name, limit.value))
		}
	}
	return errors.Join(faults...)
}

// guard are the limits of what is guarded.
func (l Limits) guard() arrowguard.Limits {
	return arrowguard.Limits{
		MaxMessage:      l.MaxMessage,
		MaxMetadata:     l.MaxMetadata,
		MaxUncompressed: l.MaxUncompressed,
		MaxRows:         l.MaxRows,
		MaxColumns:      l.MaxColumns,
		MaxBatches:      l.MaxBatches,
	}
}

func (l Limits) withDefaults() Limits {
	g := l.guard().WithDefaults()
	if l.MaxRowFaults == 0 {
		l.MaxRowFaults = 4096
	}
	return Limits{
		MaxMessage:      g.MaxMessage,
		MaxMetadata:     g.MaxMetadata,
		MaxUncompressed: g.MaxUncompressed,
		MaxRows:         g.MaxRows,
		MaxColumns:      g.MaxColumns,
		MaxBatches:      g.MaxBatches,
		MaxRowFaults:    l.MaxRowFaults,
	}
}
