package aws

import (
	"strings"
	"testing"
)

func TestSettleVia(t *testing.T) {
	for _, row := range []struct {
		name string
		o    Options
		want string // "": it is taken
	}{
		{"alone", Options{}, ""},
		{"with an external id", Options{ExternalIDs: []string{"x-1"}}, ""},
		{"an hour", Options{Duration: "1h"}, ""},
		{"more", Options{Duration: "3601"}, "session-duration 3601 is too long: AWS limits a chained role's session to 1h"},
		{"less", Options{Duration: "14m"}, "is not within 15m and 12h"},
		{"a chain after it", Options{ChainRoleARNs: []string{"arn:aws:iam::222233334444:role/b"}, ExternalIDs: []string{"x-1"}}, ""},
	} {
		row.o.Via, row.o.RoleARN = true, "arn:aws:iam::111122223333:role/a"
		x, err := row.o.Resolve(func(string) string { return "" })
		switch {
		case err == nil && row.want != "", err != nil && (row.want == "" || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		case err == nil && len(x.Roles()) != 1+len(row.o.ChainRoleARNs):
			t.Errorf("%s: roles %v", row.name, x.Roles())
		}
	}
}
