package segment

import (
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/schemas"
)

// WriteDead returns the file of dead rows by the ID of their part, sorted by it. Parts without dead rows are left out.
// The same sets of rows make the same bytes, however they came about.
func WriteDead(dead map[string]*roaring.Bitmap) ([]byte, error) {
	var parts []string
	var bitmaps [][]byte
	for _, part := range slices.Sorted(maps.Keys(dead)) {
		if dead[part].IsEmpty() {
			continue
		}
		rows := roaring.New()
		rows.Or(dead[part])
		rows.RunOptimize() // gives each container the form that is smallest for what is in it
		b, err := rows.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("dead rows of part %s: %w", part, err)
		}
		parts, bitmaps = append(parts, part), append(bitmaps, b)
	}
	n := len(parts)
	part, err := texts(arrow.BinaryTypes.String, n, func(i int) string { return parts[i] }, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("dead rows: %s: %w", schemas.StoredPart, err)
	}
	rows, err := texts(arrow.BinaryTypes.Binary, n, func(i int) []byte { return bitmaps[i] }, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("dead rows: %s: %w", schemas.StoredRows, err)
	}
	body, err := writeFile(schemas.DeadSchema(), []arrow.Array{part, rows}, n, -1)
	if err != nil {
		return nil, fmt.Errorf("dead rows: %w", err)
	}
	return body, nil
}

// ReadDead returns the dead rows of a file by the ID of their part. They do not alias data. name is that of the object,
// for errors. Whether the rows are ones of the part is for the caller to check.
func ReadDead(name string, data []byte) (map[string]*roaring.Bitmap, error) {
	f, err := openFile(name, schemas.KindDead, data, func(*file) *arrow.Schema { return schemas.DeadSchema() })
	if err != nil {
		return nil, err
	}
	parts, rows := f.column(schemas.StoredPart).(*array.String), f.column(schemas.StoredRows).(*array.Binary)
	dead := make(map[string]*roaring.Bitmap, f.n)
	for i := range f.n {
		part := string([]byte(parts.Value(i)))
		if dead[part] != nil {
			return nil, corrupt(name, "part %q is there twice", part)
		}
		if dead[part], err = readBitmap(rows.Value(i)); err != nil {
			return nil, corrupt(name, "column %q: bitmap of part %q: %v", schemas.StoredRows, part, err)
		}
	}
	return dead, nil
}

func readBitmap(data []byte) (b *roaring.Bitmap, err error) {
	defer func() {
		if r := recover(); r != nil { // the library trusts some of the lengths it reads
			b, err = nil, fmt.Errorf("%v", r)
		}
	}()
	b = roaring.New()
	if err := b.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	if err := b.Validate(); err != nil {
		return nil, err
	}
	return b, nil
}
