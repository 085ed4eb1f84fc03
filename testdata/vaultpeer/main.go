// Vaultpeer is the Vault that the tests of the client and of the sandbox are
// held against. What judges tokens and keeps secrets is HashiCorp's own: the
// published jwt auth method and key/value engines, run in this process. What
// Vault's core does around them (tokens, leases, wrapping, policies,
// namespaces, HTTP) is published nowhere as a module and stands here in small.
// It listens on loopback only, keeps all in memory, and takes faults to order.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	config, listen, cert, key, clientCA string
}

func main() {
	var o options
	flag.StringVar(&o.config, "config", "", "`file` with mounts, roles, policies and secrets")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address`")
	flag.StringVar(&o.cert, "tls-cert", "", "`file` with the server's certificate: speak TLS")
	flag.StringVar(&o.key, "tls-key", "", "`file` with its key")
	flag.StringVar(&o.clientCA, "client-ca", "", "`file` with an authority: demand a client's certificate of it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "vaultpeer:", err)
		os.Exit(1)
	}
}

// run serves until ctx is over or stdin ends, so that a test that dies takes
// its peer along.
func run(ctx context.Context, o options) error {
	c, err := readConfig(o.config)
	if err != nil {
		return err
	}
	p, err := newPeer(ctx, c)
	if err != nil {
		return err
	}
	listener, scheme, err := listen(ctx, o)
	if err != nil {
		return err
	}
	// Failed handshakes are what some tests are about: they are no news.
	server := &http.Server{Handler: p.handler(), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ready := map[string]string{"addr": scheme + "://" + listener.Addr().String(), "root_token": p.root}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	case <-ended:
	}
	return server.Close()
}

func listen(ctx context.Context, o options) (net.Listener, string, error) {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return nil, "", err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, "", fmt.Errorf("%q is not a loopback address", host)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil || o.cert == "" {
		return l, "http", err
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, "", err
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if o.clientCA != "" {
		pem, err := os.ReadFile(o.clientCA)
		if err != nil {
			return nil, "", err
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, "", errors.New("the file of -client-ca holds no certificate")
		}
	}
	return tls.NewListener(l, c), "https", nil
}
