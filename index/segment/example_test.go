package segment_test

import (
	"fmt"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// Rows become a segment file, which opens as a part.
func Example() {
	spec := schemas.Spec{Name: "colours", Ladder: []int{4}, Encoder: "rgb/1", Topic: schemas.Topic{Name: "colours", Partitions: 1}}.WithDefaults()

	rows := segment.NewRows(&spec)
	rows.IDs = append(rows.IDs, "red", "green")
	rows.Orders = append(rows.Orders, segment.Order{Offset: 7}, segment.Order{Offset: 8})
	rows.AppendFloats(avx.Generic, []float32{
		1, 0, 0, 0,
		0, 2, 0, 0,
	})
	body, err := segment.Write(&spec, nil, avx.Generic, rows)
	if err != nil {
		fmt.Println(err)
		return
	}

	part, err := segment.OpenSegment(&spec, "5e9", body)
	if err != nil {
		fmt.Println(err)
		return
	}
	vector := make([]float32, spec.Dim())
	for row := range part.Find("green") {
		part.Vector(avx.Generic, row, vector)
		fmt.Println(part.IDAt(row), part.OrderAt(row).Offset, vector, part.Int8[row*spec.Dim():][:spec.Dim()])
	}
	// Output: green 8 [0 2 0 0] [0 127 0 0]
}
