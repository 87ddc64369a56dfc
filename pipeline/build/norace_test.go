//go:build !race

package build

const racing = false
