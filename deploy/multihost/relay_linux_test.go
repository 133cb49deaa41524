package multihost

import (
	"io"
	"net"
	"sync"
	"time"
)

// relayQueue bounds what is on its way through a relay: chunks of up to 32 KiB.
const relayQueue = 1024

// relay forwards connections made on a host to another address from there, and holds
// what the host sends back for delay, as a long line of one direction would. It
// returns the address to connect to on the host. It ends with the lab.
func (l *lab) relay(host, to string, delay time.Duration) (addr string) {
	l.t.Helper()
	var ln net.Listener
	err := l.on(host, func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	var mu sync.Mutex
	var open []io.Closer
	l.wg.Go(func() {
		<-l.ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range append(open, ln) {
			c.Close()
		}
	})
	l.wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			var far net.Conn
			err = l.on(host, func() (err error) {
				far, err = net.Dial("tcp", to)
				return err
			})
			if err != nil {
				near.Close()
				continue
			}
			mu.Lock()
			open = append(open, near, far)
			mu.Unlock()
			l.wg.Go(func() {
				_, _ = io.Copy(near, far)
				near.Close()
			})
			l.wg.Go(func() { late(far, near, delay) })
		}
	})
	return ln.Addr().String()
}

// late copies from r to w, each chunk delay after it came.
func late(w io.WriteCloser, r io.Reader, delay time.Duration) {
	type chunk struct {
		due  time.Time
		data []byte
	}
	queue := make(chan chunk, relayQueue)
	go func() {
		defer close(queue)
		for {
			buf := make([]byte, 32<<10)
			n, err := r.Read(buf)
			if n > 0 {
				queue <- chunk{time.Now().Add(delay), buf[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range queue {
		<-time.After(time.Until(c.due))
		if _, err := w.Write(c.data); err != nil {
			break
		}
	}
	w.Close()
	for range queue { // until the reader ends
	}
}
