package kinetod

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// procTCP is where the kernel lists the TCP connections over IPv4 with their users.
const procTCP = "/proc/net/tcp"

// peerUser is the user at the other end of a connection of the loopback.
func peerUser(conn net.Conn) (int, error) {
	there, ok := conn.RemoteAddr().(*net.TCPAddr)
	here, ok2 := conn.LocalAddr().(*net.TCPAddr)
	if !ok || !ok2 || there.IP.To4() == nil || here.IP.To4() == nil {
		return 0, errors.New("it is no connection over IPv4")
	}
	f, err := os.Open(procTCP)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return userOf(bufio.NewScanner(f), hexAddr(there), hexAddr(here))
}

// hexAddr is an address as the kernel writes it.
func hexAddr(a *net.TCPAddr) string {
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(a.IP.To4()), a.Port)
}

// userOf finds the connection from one address to another.
func userOf(lines *bufio.Scanner, from, to string) (int, error) {
	for lines.Scan() {
		// number, local address, remote one, state, queues, timer, retransmissions, user
		if f := strings.Fields(lines.Text()); len(f) > 7 && f[1] == from && f[2] == to {
			return strconv.Atoi(f[7])
		}
	}
	return 0, errors.Join(errors.New("the kernel does not list it"), lines.Err())
}
