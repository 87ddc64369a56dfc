// Command clock tells by how many seconds its wall clock is ahead of $BEGAN, and the age of the process by the monotonic one.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	began, err := strconv.ParseInt(os.Getenv("BEGAN"), 10, 64)
	if err != nil {
		panic(err)
	}
	start := time.Now()
	for range 3 {
		fmt.Println(time.Now().Unix()-began, time.Since(start).Milliseconds())
		time.Sleep(400 * time.Millisecond)
	}
}
