package aws

import (
	"net"
	"strings"
	"testing"
)

// A stranger's connections take the place of each other, and not of the command's.
func TestTheEndpointBoundsItsConnections(t *testing.T) {
	e := served(t, always)
	var strangers []net.Conn
	for range 2 * maxConnections {
		c, err := net.Dial("tcp", e.host)
		if err != nil {
			t.Fatal(err)
		}
		strangers = append(strangers, c)
	}
	got := dial(t, e, "GET /credentials HTTP/1.1\r\nHost: "+e.host+"\r\nAuthorization: "+e.token.Reveal()+"\r\nConnection: close\r\n\r\n")
	if !strings.Contains(got, "ASIAID") {
		t.Errorf("the command gets %q", got)
	}
	// The first ones were closed for the later ones.
	if n, err := strangers[0].Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v", n, err)
	}
	for _, c := range strangers {
		_ = c.Close()
	}
}
