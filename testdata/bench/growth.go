package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// growth measures what more of the same costs: processes at once, and profiles in
// the file that is written. The last column is the exponent between two lines: 1 is
// in proportion, 0 no growth.
func (b *bench) growth() {
	env := b.env(b.server.URL)
	b.grows("credential-process at once, without a cache", []int{1, 10, 50, 200}, func(n int) float64 {
		return b.atOnce(env, n, "aws", "credential-process", "--no-cache")
	})
	b.grows("credential-process at once, one cache", []int{1, 10, 50, 200}, func(n int) float64 {
		return b.atOnce(env, n, "aws", "credential-process")
	})
	b.grows("aws --profile into a file of so many profiles", []int{1, 1000, 10000}, func(n int) float64 {
		var all bytes.Buffer
		for i := range n {
			fmt.Fprintf(&all, "[profile-%d]\naws_access_key_id = AKIA%016d\naws_secret_access_key = %040d\n\n", i, i, i)
		}
		file := filepath.Join(b.dir, "credentials")
		check(os.WriteFile(file, all.Bytes(), 0o600))
		return b.atOnce(append(env, "AWS_SHARED_CREDENTIALS_FILE="+file), 1, "aws", "--profile", "bench")
	})
	b.grows("targets of one apply", []int{1, 10, 50}, func(n int) float64 {
		var all strings.Builder
		all.WriteString("version: 1\naws:\n")
		for i := range n {
			fmt.Fprintf(&all, "  - profile: t%d\n    role-arn: arn:aws:iam::111122223333:role/deploy\n    role-session-name: t%d\n    region: us-east-1\n", i, i)
		}
		file := filepath.Join(b.dir, "apply.yaml")
		check(os.WriteFile(file, []byte(all.String()), 0o600))
		return b.atOnce(env, 1, "apply", "--file", file)
	})
}

// grows prints the wall time for each n, the median of five.
func (b *bench) grows(title string, sizes []int, run func(n int) float64) {
	fmt.Printf("\n%s, medians of 5:\n\n", title)
	row := "%8d %9.1f ms  %s\n"
	if b.markdown {
		fmt.Println("| n | wall ms | exponent |\n|---|---|---|")
		row = "| %d | %.1f | %s |\n"
	}
	var before float64
	for i, n := range sizes {
		var took []float64
		for range 5 {
			took = append(took, run(n))
		}
		now, slope := median(took), ""
		if i > 0 {
			slope = fmt.Sprintf("%.2f", math.Log(now/before)/math.Log(float64(n)/float64(sizes[i-1])))
		}
		fmt.Printf(row, n, now, slope)
		before = now
	}
}

// atOnce runs n processes at the same time and returns how long the last one took.
func (b *bench) atOnce(env []string, n int, args ...string) float64 {
	var all sync.WaitGroup
	start := time.Now()
	for range n {
		all.Go(func() {
			cmd := exec.Command(b.binary, args...)
			cmd.Env = env
			if out, err := cmd.CombinedOutput(); err != nil {
				check(fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out))
			}
		})
	}
	all.Wait()
	return float64(time.Since(start).Microseconds()) / 1000
}
