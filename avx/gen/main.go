// Command gen writes the amd64 assembly of package avx with avo. It is a module of its own
// so that users of Adastream never depend on avo. In avx/gen:
//
//	go run . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg avx
//
// The kernels are in package emit, which keeps this file a program by itself: avo puts the
// command "go run main.go" in the headers that it writes.
package main

import (
	"github.com/mmcloughlin/avo/build"

	"github.com/adastream/adastream/avx/gen/emit"
)

func main() {
	build.ConstraintExpr("amd64")
	emit.Kernels()
	build.Generate()
}
