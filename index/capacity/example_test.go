package capacity_test

import (
	"fmt"

	"github.com/adastream/adastream/index/capacity"
)

func ExampleOf() {
	w := capacity.Defaults()
	w.Rows, w.Ladder, w.QPS = 10_000_000, []int{64, 128, 256}, 1000
	if err := w.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	p := capacity.Of(w)
	fmt.Printf("a node wants %.1f GiB, and it fits: %v\n", p.Value("query node", "memory, with a swap")/(1<<30), p.Fits())
	w.Rows *= 100
	fmt.Println("a hundred times that fits:", capacity.Of(w).Fits())
	// Output:
	// a node wants 8.0 GiB, and it fits: true
	// a hundred times that fits: false
}
