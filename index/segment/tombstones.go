package segment

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/schemas"
)

// WriteTombstones returns the tombstones file of deletes, in their order.
func WriteTombstones(tombstones []Tombstone) ([]byte, error) {
	ids, orders := make([]string, len(tombstones)), make([]Order, len(tombstones))
	for i, t := range tombstones {
		ids[i], orders[i] = t.ID, t.Order
	}
	columns, err := identity(ids, orders)
	if err != nil {
		return nil, fmt.Errorf("tombstones: %w", err)
	}
	body, err := writeFile(schemas.TombstonesSchema(), columns, len(tombstones), -1)
	if err != nil {
		return nil, fmt.Errorf("tombstones: %w", err)
	}
	return body, nil
}

// ReadTombstones returns the deletes of a tombstones file. They do not alias data. name is that of the object, for
// errors.
func ReadTombstones(name string, data []byte) ([]Tombstone, error) {
	f, err := openFile(name, schemas.KindTombstones, data, func(*file) *arrow.Schema { return schemas.TombstonesSchema() })
	if err != nil {
		return nil, err
	}
	ids, orders := f.column(schemas.StoredID).(*array.String), f.orders()
	all := strings.Clone(string(ids.ValueBytes()))
	first := 0
	if f.n > 0 {
		first = ids.ValueOffset(0)
	}
	tombstones := make([]Tombstone, f.n)
	for i := range tombstones {
		start := ids.ValueOffset(i) - first
		tombstones[i] = Tombstone{ID: all[start : start+ids.ValueLen(i)], Order: orders.at(i)}
	}
	return tombstones, nil
}
