package schemas_test

import (
	"fmt"

	"github.com/adastream/adastream/schemas"
)

// A spec says what an index is made of. What is wrong with it is said all at once.
func ExampleSpec() {
	spec := schemas.Spec{Name: "words", Ladder: []int{64, 128, 256}, Encoder: "mini/2", Topic: schemas.Topic{Name: "embeddings", Partitions: 6}}.WithDefaults()
	fmt.Println(spec.Dim(), spec.Metric, spec.Vectors, spec.Validate())

	spec.Ladder, spec.Metric = []int{256, 128}, "hamming"
	fmt.Println(spec.Validate())
	// Output:
	// 256 cosine float32 <nil>
	// metric: "hamming", allowed: cosine, ip
	// ladder: [256 128], allowed: ascending multiples of 4 from 4 to 8192
}
